import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { git, makeAttempt } from '../../test/support/attempt.ts';
import { asNobody } from '../../test/support/nobody.ts';
import { brief, takeProven } from '../../test/support/proof.ts';
import { makeRepository, plainGit, writeFiles } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import { takeSnapshot } from './snapshot.ts';

const TEN = Array.from({ length: 10 }, (_, i) => `line ${i}\n`).join('');

test('an unchanged workspace is the base, with an empty patch', async () => {
  const attempt = await makeAttempt({ a: 'a\n' });
  const result = await takeProven(attempt);
  expect(result).toMatchObject({ files: [], patch: '', patch_bytes: 0, additions: 0, deletions: 0, not_carried: [] });
  expect(result.tree).toBe(attempt.repository.git('rev-parse', 'HEAD^{tree}'));
});

test('new, changed, deleted, renamed, binary, empty, executable and linked files', async () => {
  const attempt = await makeAttempt({
    'changed.txt': 'one\ntwo\n',
    'deleted.txt': 'gone\n',
    'old-name.txt': TEN,
    'picture.bin': Buffer.from([0, 1, 2, 255]),
    'script.sh': 'echo\n',
    'becomes-link': 'text\n',
    link: { link: 'changed.txt' },
    'folder/inner.txt': 'inner\n',
  });
  writeFiles(attempt.workspace, {
    'changed.txt': 'one\n2\nthree\n',
    'deleted.txt': null,
    'old-name.txt': null,
    'dir/new-name.txt': TEN,
    'picture.bin': Buffer.from([0, 9, 9, 9, 9]),
    'new.txt': 'n\n',
    'no-newline': 'x',
    empty: '',
    'becomes-link': { link: '/etc/passwd' },
    link: { link: 'no-such-file' },
    folder: 'a file now\n',
  });
  chmodSync(join(attempt.workspace, 'script.sh'), 0o755);
  const result = await takeProven(attempt);
  expect(brief(result).toSorted()).toEqual([
    'added empty',
    'added folder',
    'added new.txt',
    'added no-newline',
    'deleted deleted.txt',
    'deleted folder/inner.txt',
    'modified changed.txt',
    'modified link',
    'modified picture.bin',
    'modified script.sh',
    'renamed old-name.txt -> dir/new-name.txt',
    'type_changed becomes-link',
  ]);
  const of = (path: string) => result.files.find((file) => file.path === path);
  expect(of('changed.txt')).toMatchObject({ additions: 2, deletions: 1, binary: false });
  expect(of('picture.bin')).toMatchObject({ additions: null, deletions: null, binary: true });
  expect(of('script.sh')).toMatchObject({ old_mode: '100644', new_mode: '100755', additions: 0, deletions: 0 });
  expect(of('becomes-link')).toMatchObject({ old_mode: '100644', new_mode: '120000' });
  expect(of('dir/new-name.txt')).toMatchObject({ additions: 0, deletions: 0 });
  // A link is stored as a link: nothing of what it points at is in the patch.
  expect(result.patch).toContain('+/etc/passwd');
  expect(result.patch).not.toContain('root:');
  expect(result.additions).toBe(2 + 1 + 1 + 1 + 1 + 1);
});

test('names of any bytes', async () => {
  const attempt = await makeAttempt({ 'old\tname': TEN });
  const latin = Buffer.from('caf\xe9 "q"\n', 'latin1');
  const there = (name: Buffer) => Buffer.concat([Buffer.from(`${attempt.workspace}/`), name]);
  writeFileSync(there(latin), 'latin1\n');
  renameSync(join(attempt.workspace, 'old\tname'), there(Buffer.from('new\nname \xff', 'latin1')));
  const names = [
    'line\nbreak',
    'tab\there',
    '"quoted"',
    'back\\slash',
    '-dash',
    '--upload-pack=x',
    ' spaces ',
    'größe',
    '日本',
    ':(exclude)x',
    '*',
    'a => b',
    '{a => b}',
  ];
  for (const name of names) writeFileSync(join(attempt.workspace, name), name);
  const result = await takeProven(attempt);
  const added = result.files.filter((file) => file.status === 'added');
  expect(
    added
      .filter((file) => file.path_base64 === undefined)
      .map((file) => file.path)
      .toSorted(),
  ).toEqual(names.toSorted());
  expect(added.filter((file) => file.path_base64 !== undefined)).toEqual([
    expect.objectContaining({ path: String.raw`"caf\351 \"q\"\n"`, path_base64: latin.toString('base64') }),
  ]);
  expect(result.files.find((file) => file.status === 'renamed')).toMatchObject({
    old_path: 'old\tname',
    path: String.raw`"new\nname \377"`,
    additions: 0,
  });
  expect(result.files).toHaveLength(names.length + 2);
});

test("the agent's own commits change nothing about it", async () => {
  const attempt = await makeAttempt({ a: 'a\n', b: 'b\n' });
  writeFiles(attempt.workspace, { a: 'A\n', c: 'c\n' });
  plainGit(attempt.workspace, ['add', 'a']);
  plainGit(attempt.workspace, ['commit', '-qm', 'By the agent']);
  plainGit(attempt.workspace, ['rm', '-q', '--cached', 'b']);
  plainGit(attempt.workspace, ['checkout', '-q', '-b', 'other']);
  expect(brief(await takeProven(attempt))).toEqual(['modified a', 'added c']);
});

test('ignored files are left out, unless the base has them', async () => {
  const attempt = await makeAttempt({ 'kept.log': 'one\n', src: 'x\n' });
  writeFiles(attempt.workspace, {
    '.gitignore': '*.log\nnode_modules/\n',
    'kept.log': 'two\n',
    'new.log': 'noise\n',
    'node_modules/dep/index.js': 'x\n',
    'sub/.gitignore': '/generated\n',
    'sub/generated': 'x\n',
    'sub/real': 'y\n',
  });
  mkdirSync(join(attempt.workspace, 'node_modules/dep/.git'), { recursive: true });
  execFileSync('env', ['mkfifo', join(attempt.workspace, 'node_modules/pipe'), join(attempt.workspace, 'pipe.log')]);
  const result = await takeProven(attempt);
  expect(brief(result)).toEqual(['added .gitignore', 'modified kept.log', 'added sub/.gitignore', 'added sub/real']);
  expect(result.not_carried).toEqual([]);
});

describe('what a patch cannot carry is named', () => {
  test('repositories inside, with and without commits, and a .git file', async () => {
    const attempt = await makeAttempt({ 'pkg/tracked.txt': 'x\n' });
    const at = (name: string) => join(attempt.workspace, name);
    makeRepository(at('nested/full'), { inside: 'x\n' });
    makeRepository(at('nested/empty'), {});
    writeFiles(at('nested/empty'), { inside: 'x\n' });
    plainGit(attempt.workspace, ['worktree', 'add', '-q', at('linked')]);
    plainGit(at('pkg'), ['init', '-q']);
    writeFiles(attempt.workspace, { 'broken/.git': 'gitdir: /nowhere\n', 'broken/file': 'x\n', 'pkg/new.txt': 'y\n' });
    const result = await takeProven(attempt);
    expect(brief(result)).toEqual(['added broken/file', 'added pkg/new.txt']);
    expect(result.not_carried).toEqual([
      { path: 'broken/.git', what: 'git directory' },
      { path: 'linked', what: 'nested repository' },
      { path: 'nested/empty', what: 'nested repository' },
      { path: 'nested/full', what: 'nested repository' },
      { path: 'pkg/.git', what: 'git directory' },
    ]);
  });

  test('fifos and sockets', async () => {
    const attempt = await makeAttempt({ a: 'a\n' });
    mkdirSync(join(attempt.workspace, 'run'));
    rmSync(join(attempt.workspace, 'a'));
    execFileSync('env', ['mkfifo', join(attempt.workspace, 'run', 'pi\npe'), join(attempt.workspace, 'a')]);
    const server = createServer();
    await new Promise<void>((done) => server.listen(join(attempt.workspace, 'run/sock'), done));
    const result = await takeProven(attempt);
    server.close();
    expect(result.not_carried).toEqual([
      { path: 'a', what: 'fifo' },
      { path: 'run/pi\npe', what: 'fifo' },
      { path: 'run/sock', what: 'socket' },
    ]);
    expect(result.files).toEqual([]);
  });

  test('names that git refuses', async () => {
    const attempt = await makeAttempt({ a: 'a\n' });
    writeFiles(attempt.workspace, { 'git~1': 'x\n', 'sub/.GIT/config': '[core]\n', fine: 'x\n' });
    const result = await takeProven(attempt);
    expect(brief(result)).toEqual(['added fine']);
    expect(result.not_carried).toEqual([
      { path: 'git~1', what: 'refused by git' },
      { path: 'sub/.GIT/config', what: 'refused by git' },
    ]);
  });

  test('what cannot be read', async () => {
    const attempt = await makeAttempt({ tracked: 'a\n', 'folder/inner': 'x\n' });
    writeFiles(attempt.workspace, { tracked: 'b\n', secret: 'x\n', fine: 'x\n' });
    for (const name of ['tracked', 'secret', 'folder']) chmodSync(join(attempt.workspace, name), 0);
    try {
      const result = await asNobody(join(attempt.workspace, '..'), () => attempt.take());
      expect(brief(result)).toEqual(['added fine']);
      expect(result.not_carried).toEqual([
        { path: 'folder', what: 'unreadable folder' },
        { path: 'secret', what: 'unreadable file' },
        { path: 'tracked', what: 'unreadable file' },
      ]);
    } finally {
      chmodSync(join(attempt.workspace, 'folder'), 0o755);
    }
  });

  test('a file that stops git on its way does not keep the others out', async () => {
    const attempt = await makeAttempt({ a: 'a\n', gone: 'x\n', 'wide.txt': 'was\n' });
    writeFiles(attempt.workspace, {
      '.gitattributes': '*.txt working-tree-encoding=UTF-16\n',
      'odd.txt': 'odd',
      'wide.txt': 'odd',
      a: 'A\n',
      gone: null,
      'z/new': 'n\n',
    });
    const result = await takeProven(attempt);
    expect(brief(result)).toEqual(['added .gitattributes', 'modified a', 'deleted gone', 'added z/new']);
    expect(result.not_carried).toEqual([
      { path: 'odd.txt', what: 'refused by git' },
      { path: 'wide.txt', what: 'refused by git' },
    ]);
  });
});

test('what an interrupted snapshot left does not stand in the way', async () => {
  const attempt = await makeAttempt({ a: 'a\n' });
  writeFiles(attempt.workspace, { a: 'A\n' });
  await attempt.take();
  writeFileSync(join(attempt.workspace, '..', 'snapshot', 'index.lock'), '');
  expect(brief(await takeProven(attempt))).toEqual(['modified a']);
});

test('a patch larger than allowed is an error', async () => {
  const attempt = await makeAttempt({ a: 'a\n' });
  writeFiles(attempt.workspace, { big: 'x\n'.repeat(5000) });
  const root = tempDir();
  const taking = takeSnapshot(git, {
    source: attempt.source,
    base: attempt.base,
    workTree: attempt.workspace,
    gitDir: join(root, 'git'),
    patchFile: join(root, 'patch'),
    maxBytes: 1000,
  });
  await expect(taking).rejects.toMatchObject({
    code: 'patch_invalid',
    message: expect.stringContaining('more than 1000 bytes'),
  });
});

test('a repository with SHA-256 names', async () => {
  const attempt = await makeAttempt({ a: 'a\n', old: TEN, dos: 'a\r\n', '.gitattributes': 'dos -text\n' }, [
    '--object-format=sha256',
  ]);
  expect(attempt.base).toHaveLength(64);
  writeFiles(attempt.workspace, { a: 'A\n', old: null, new: TEN, '.gitattributes': 'dos text\n' });
  makeRepository(join(attempt.workspace, 'nested'), { x: 'x\n' });
  const result = await takeProven(attempt);
  expect(result.tree).toHaveLength(64);
  expect(brief(result)).toEqual(['modified .gitattributes', 'modified a', 'renamed old -> new']);
  expect(result.not_carried).toEqual([{ path: 'nested', what: 'nested repository' }]);
});

test('the objects may come from a URL', async () => {
  const attempt = await makeAttempt({ a: 'a\n' });
  writeFiles(attempt.workspace, { a: 'A\n' });
  const root = tempDir();
  const { result } = await takeSnapshot(git, {
    source: `file://${attempt.repository.path}`,
    base: attempt.base,
    workTree: attempt.workspace,
    gitDir: join(root, 'git'),
    patchFile: join(root, 'patch'),
  });
  expect(result.patch_sha256).toBe((await attempt.take()).patch_sha256);
});
