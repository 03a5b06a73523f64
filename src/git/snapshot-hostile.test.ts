import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { attemptOn, makeAttempt, type TestAttempt } from '../../test/support/attempt.ts';
import { brief, takeProven } from '../../test/support/proof.ts';
import { makeRepository, plainGit, writeFiles } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import { createGit } from './command.ts';
import { takeSnapshot } from './snapshot.ts';

describe('submodules', () => {
  async function withSubmodules(): Promise<TestAttempt> {
    const root = tempDir();
    const repository = makeRepository(join(root, 'repository'), { a: 'a\n' });
    for (const name of ['left', 'filled', 'removed', 'replaced']) {
      repository.git('update-index', '--add', '--cacheinfo', `160000,${repository.head()},libs/${name}`);
    }
    repository.git('commit', '-qm', 'Submodules');
    return attemptOn(repository, root);
  }

  test('one left empty is as it was; a changed one is named; a removed one is gone', async () => {
    const attempt = await withSubmodules();
    const at = (name: string) => join(attempt.workspace, 'libs', name);
    writeFiles(at('filled'), { 'deep/file': 'x\n' });
    rmSync(at('removed'), { recursive: true });
    rmSync(at('replaced'), { recursive: true });
    writeFileSync(at('replaced'), 'a file now\n');
    const result = await takeProven(attempt);
    expect(brief(result)).toEqual(['deleted libs/removed', 'type_changed libs/replaced']);
    expect(result.not_carried).toEqual([{ path: 'libs/filled', what: 'submodule' }]);
  });

  test('git is never run inside one, whatever commit it is at', async () => {
    const attempt = await withSubmodules();
    const marker = join(tempDir(), 'marker');
    const inside = join(attempt.workspace, 'libs/filled');
    plainGit(attempt.workspace, ['clone', '-q', attempt.repository.path, inside]);
    plainGit(inside, ['checkout', '-q', `${attempt.base}^`]);
    plainGit(inside, ['config', 'core.fsmonitor', `touch ${marker}; false`]);
    plainGit(inside, ['config', 'filter.evil.clean', `touch ${marker}; cat`]);
    // The same bytes in a new file: git has to look into it, through the filter.
    writeFiles(inside, { a: 'a\n', '.git/info/attributes': '* filter=evil\n' });
    // Plain git fires it, even without the fsmonitor: this is what the snapshot must not do.
    plainGit(attempt.workspace, ['-c', 'core.fsmonitor=false', 'add', '-A', '--dry-run']);
    expect(() => readFileSync(marker)).not.toThrow();
    rmSync(marker);
    const result = await takeProven(attempt);
    expect(result.files).toEqual([]);
    expect(result.not_carried).toEqual([{ path: 'libs/filled', what: 'submodule' }]);
    expect(() => readFileSync(marker)).toThrow('ENOENT');
  });
});

describe('attributes', () => {
  test('a file whose bytes are the base’s has not changed, whatever the attributes say', async () => {
    const root = tempDir();
    const repository = makeRepository(join(root, 'repository'), {
      'dos.txt': 'one\r\ntwo\r\n',
      'run.sh': 'a\r\n',
      'unix.bat': 'one\ntwo\n',
    });
    // Committed with CRLF, and only then declared to be text: git calls the files changed in every fresh checkout.
    repository.commit('Attributes', { '.gitattributes': '*.bat text eol=crlf\n' });
    writeFiles(repository.path, { '.gitattributes': '*.txt text\n*.sh text eol=lf\n*.bat text eol=crlf\n' });
    repository.git('add', '.gitattributes');
    repository.git('commit', '-qm', 'Text');
    const attempt = await attemptOn(repository, root);
    expect(readFileSync(join(attempt.workspace, 'unix.bat'), 'latin1')).toBe('one\r\ntwo\r\n');
    expect(brief(await takeProven(attempt))).toEqual([]);
    chmodSync(join(attempt.workspace, 'run.sh'), 0o755);
    writeFiles(attempt.workspace, { 'unix.bat': 'one\r\n2\r\n', 'dos.txt': 'one\r\n2\r\n' });
    const result = await takeProven(attempt);
    expect(result.files.map(({ path, additions, deletions }) => [path, additions, deletions])).toEqual([
      ['dos.txt', 2, 2],
      ['run.sh', 0, 0],
      ['unix.bat', 1, 1],
    ]);
  });

  test('they have no say in what is binary', async () => {
    const attempt = await makeAttempt({ text: 'a\n', data: Buffer.from([0, 1, 10, 0]) });
    writeFiles(attempt.workspace, {
      '.gitattributes': 'text -diff\ndata diff\n',
      text: 'b\n',
      data: Buffer.from([0, 2, 10, 13, 0]),
    });
    const result = await takeProven(attempt);
    expect(result.files.map(({ path, binary }) => [path, binary])).toEqual([
      ['.gitattributes', false],
      ['data', true],
      ['text', false],
    ]);
  });
});

describe('a hostile workspace runs nothing and hides nothing', () => {
  const hostile: Record<string, (workspace: string, command: string) => void> = {
    'core.fsmonitor, hooks, filters, diff drivers in its .git/config': (workspace, command) => {
      const config = {
        'core.fsmonitor': command,
        'core.sshCommand': command,
        'diff.external': command,
        'filter.evil.clean': command,
        'filter.evil.smudge': command,
        'filter.evil.process': command,
        'diff.evil.textconv': command,
        'diff.evil.command': command,
        'merge.evil.driver': command,
        'core.pager': command,
        'core.alternateRefsCommand': command,
      };
      for (const [key, value] of Object.entries(config)) plainGit(workspace, ['config', key, value]);
      const hooks = join(workspace, '.git/hooks');
      mkdirSync(hooks, { recursive: true });
      for (const hook of [
        'pre-commit',
        'post-index-change',
        'post-checkout',
        'reference-transaction',
        'pre-applypatch',
      ])
        writeFiles(hooks, { [hook]: { executable: `#!/bin/sh\n${command}\n` } });
      writeFiles(workspace, { '.gitattributes': '* filter=evil diff=evil merge=evil\n' });
    },
    'include.path to a file of its own': (workspace, command) => {
      writeFiles(workspace, { '.evil-config': `[core]\n\tfsmonitor = ${command}\n`, '.gitignore': '.evil-config\n' });
      plainGit(workspace, ['config', 'include.path', '../.evil-config']);
    },
    'a .git that is a link': (workspace, command) => {
      const elsewhere = tempDir();
      renameSync(join(workspace, '.git'), join(elsewhere, 'git'));
      symlinkSync(join(elsewhere, 'git'), join(workspace, '.git'));
      plainGit(workspace, ['config', 'core.fsmonitor', command]);
    },
    'a .git file that points elsewhere': (workspace, command) => {
      const elsewhere = makeRepository(tempDir(), { other: 'x\n' });
      elsewhere.git('config', 'core.fsmonitor', command);
      writeFiles(workspace, { '.git': `gitdir: ${elsewhere.path}/.git\n` });
    },
    'no .git at all': (workspace) => rmSync(join(workspace, '.git'), { recursive: true }),
    'a nested repository with an fsmonitor': (workspace, command) => {
      makeRepository(join(workspace, 'nested'), { a: 'x\n' }).git('config', 'core.fsmonitor', command);
    },
    'everything marked as unchanged in its own index': (workspace) => {
      plainGit(workspace, ['update-index', '--assume-unchanged', 'a']);
      plainGit(workspace, ['update-index', '--skip-worktree', 'b']);
      writeFileSync(join(workspace, '.git/info-exclude'), '');
      mkdirSync(join(workspace, '.git/info'), { recursive: true });
      writeFileSync(join(workspace, '.git/info/exclude'), '*\n');
    },
  };
  test.each(Object.entries(hostile))('%s', async (_name, prepare) => {
    const attempt = await makeAttempt({ a: 'a\n', b: 'b\n' });
    const marker = join(tempDir(), 'marker');
    prepare(attempt.workspace, `touch ${marker}; cat`);
    writeFiles(attempt.workspace, { a: 'A\n', b: 'B\n', new: 'n\n' });
    rmSync(marker, { force: true });
    const result = await takeProven(attempt);
    expect(brief(result)).toEqual(expect.arrayContaining(['modified a', 'modified b', 'added new']));
    expect(() => readFileSync(marker)).toThrow('ENOENT');
  });

  test('GIT_* variables around it have no say', async () => {
    const attempt = await makeAttempt({ a: 'a\n' });
    const marker = join(tempDir(), 'marker');
    writeFiles(attempt.workspace, { a: 'A\n' });
    const bent = createGit({
      env: {
        PATH: process.env['PATH'],
        GIT_DIR: join(attempt.workspace, '.git'),
        GIT_WORK_TREE: '/',
        GIT_INDEX_FILE: '/nowhere',
        GIT_EXTERNAL_DIFF: `touch ${marker}`,
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'core.fsmonitor',
        GIT_CONFIG_VALUE_0: `touch ${marker}`,
        GIT_DIFF_OPTS: '-u0',
        GIT_OBJECT_DIRECTORY: '/nowhere',
      },
    });
    const before = await attempt.take();
    const root = tempDir();
    const { result } = await takeSnapshot(bent, {
      source: attempt.source,
      base: attempt.base,
      workTree: attempt.workspace,
      gitDir: join(root, 'git'),
      patchFile: join(root, 'patch'),
    });
    expect(result.patch_sha256).toBe(before.patch_sha256);
    expect(() => readFileSync(marker)).toThrow('ENOENT');
  });

  test('a folder replaced by a link that leads out brings nothing in', async () => {
    const attempt = await makeAttempt({ 'conf/a': 'a\n', 'conf/sub/b': 'b\n' });
    const outside = tempDir();
    writeFiles(outside, { a: 'outside\n', c: 'outside\n' });
    writeFiles(attempt.workspace, { conf: { link: outside } });
    const result = await takeProven(attempt);
    expect(brief(result)).toEqual(['added conf', 'deleted conf/a', 'deleted conf/sub/b']);
    expect(result.patch).not.toContain('outside\n');
  });

  test('a workspace that is gone, or a link now, is an error', async () => {
    const attempt = await makeAttempt({ a: 'a\n' });
    rmSync(attempt.workspace, { recursive: true });
    await expect(attempt.take()).rejects.toMatchObject({
      code: 'git_failed',
      message: expect.stringContaining('workspace is gone'),
    });
    symlinkSync('/etc', attempt.workspace);
    await expect(attempt.take()).rejects.toMatchObject({ code: 'git_failed' });
  });
});
