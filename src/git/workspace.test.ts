import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { git } from '../../test/support/attempt.ts';
import { makeRepository, plainEnv, plainGit, writeFiles, type TestRepository } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import type { Git } from './command.ts';
import { openMirrors } from './mirror.ts';
import { makeWorkspace } from './workspace.ts';

async function mirrored(
  repository: TestRepository,
  ref?: string,
): Promise<{ source: string; base: string; dir: string }> {
  const root = tempDir();
  const mirrors = openMirrors(join(root, 'mirrors'), git);
  const { mirror, base } = await mirrors.resolve(repository.path, ref);
  return { source: mirrors.path(mirror), base, dir: join(root, 'workspace') };
}

test('the base on a branch of its own, no remote, no other branch, ready to commit with an empty HOME', async () => {
  const repository = makeRepository(tempDir(), { 'in/a': 'a\n', run: { executable: 'x\n' }, link: { link: 'in/a' } });
  const base = repository.head();
  repository.git('tag', 'v1');
  repository.commit('Later', { b: 'b\n' });
  const scene = await mirrored(repository, base);
  await makeWorkspace(git, { ...scene, branch: 'aideator/run-0' });
  const inside = (...args: string[]) =>
    plainGit(scene.dir, args, {
      GIT_AUTHOR_NAME: '',
      GIT_AUTHOR_EMAIL: '',
      GIT_COMMITTER_NAME: '',
      GIT_COMMITTER_EMAIL: '',
    });
  expect(inside('rev-parse', 'HEAD')).toBe(base);
  expect(inside('for-each-ref', '--format=%(refname)')).toBe('refs/heads/aideator/run-0\nrefs/tags/v1');
  expect(inside('symbolic-ref', 'HEAD')).toBe('refs/heads/aideator/run-0');
  expect(inside('remote')).toBe('');
  expect(inside('status', '--porcelain')).toBe('');
  expect(readFileSync(join(scene.dir, 'link'), 'utf8')).toBe('a\n');
  expect(statSync(join(scene.dir, 'run')).mode & 0o111).toBe(0o111);
  writeFiles(scene.dir, { b: 'mine\n' });
  inside('add', '-A');
  const empty = Object.fromEntries(Object.entries(plainEnv).filter(([name]) => !/^GIT_(AUTHOR|COMMITTER)_/.test(name)));
  execFileSync('git', ['commit', '-qm', 'Agent'], { cwd: scene.dir, env: empty });
  expect(inside('log', '-1', '--format=%an <%ae>')).toBe('AIdeator agent <agent@aideator.invalid>');
  expect(inside('reflog').split('\n').length).toBeGreaterThan(1);
});

test('objects are linked, not copied', async () => {
  const repository = makeRepository(tempDir(), { a: 'a\n' });
  const scene = await mirrored(repository);
  await makeWorkspace(git, { ...scene, branch: 'b' });
  const [pack] = plainGit(scene.source, ['rev-parse', '--git-path', 'objects/pack']).split('\n');
  const name = readdirSync(join(scene.source, pack ?? '')).find((file) => file.endsWith('.pack')) ?? '';
  expect(statSync(join(scene.dir, '.git/objects/pack', name)).ino).toBe(
    statSync(join(scene.source, 'objects/pack', name)).ino,
  );
});

test('a commit of no branch, SHA-256 names, submodules', async () => {
  const repository = makeRepository(tempDir(), { a: 'a\n' }, ['--object-format=sha256']);
  repository.git('update-index', '--add', '--cacheinfo', `160000,${repository.head()},sub`);
  repository.git('commit', '-qm', 'Sub');
  const lost = repository.head();
  repository.git('reset', '-q', '--hard', 'HEAD^');
  const scene = await mirrored(repository, lost);
  await makeWorkspace(git, { ...scene, branch: 'b' });
  expect(plainGit(scene.dir, ['rev-parse', 'HEAD'])).toBe(lost);
  expect(statSync(join(scene.dir, 'sub')).isDirectory()).toBe(true);
});

test('drivers of .gitattributes do not run', async () => {
  const repository = makeRepository(tempDir(), {
    '.gitattributes': '*.big filter=lfs diff=lfs merge=lfs -text\n',
    'a.big': 'version https://git-lfs.github.com/spec/v1\n',
  });
  const scene = await mirrored(repository);
  await makeWorkspace(git, { ...scene, branch: 'b' });
  expect(readFileSync(join(scene.dir, 'a.big'), 'utf8')).toBe('version https://git-lfs.github.com/spec/v1\n');
});

test('from a shallow mirror, and from a URL, with a base that only a pin reaches', async () => {
  const repository = makeRepository(tempDir(), { a: 'a\n' });
  repository.commit('Two', { a: 'b\n' });
  const root = tempDir();
  plainGit(root, ['clone', '-q', '--depth=1', `file://${repository.path}`, 'shallow']);
  plainGit(join(root, 'shallow'), ['commit', '-q', '--allow-empty', '-m', 'Pinned only']);
  const pinned = plainGit(join(root, 'shallow'), ['rev-parse', 'HEAD']);
  plainGit(join(root, 'shallow'), ['checkout', '-q', '--detach']);
  plainGit(join(root, 'shallow'), ['branch', '-qf', 'main', 'HEAD^']);
  const scene = await mirrored({ ...repository, path: join(root, 'shallow') });
  expect(scene.base).toBe(pinned);
  for (const source of [scene.source, `file://${scene.source}`]) {
    const dir = join(tempDir(), 'workspace');
    await makeWorkspace(git, { source, base: pinned, dir, branch: 'mine' });
    expect(plainGit(dir, ['rev-parse', 'HEAD', 'mine'])).toBe(`${pinned}\n${pinned}`);
    expect(plainGit(dir, ['config', 'user.email'])).toBe('agent@aideator.invalid');
    expect(plainGit(dir, ['for-each-ref', '--format=%(refname)'])).toBe('refs/heads/mine');
  }
});

test('bad input is refused', async () => {
  const repository = makeRepository(tempDir(), { a: 'a\n' });
  const scene = await mirrored(repository);
  await expect(makeWorkspace(git, { ...scene, branch: '-b' })).rejects.toMatchObject({ code: 'git_failed' });
  const again = { ...scene, dir: join(tempDir(), 'workspace') };
  await expect(makeWorkspace(git, { ...again, base: 'main', branch: 'b' })).rejects.toMatchObject({
    code: 'git_failed',
  });
  await expect(makeWorkspace(git, { ...again, base: 'f'.repeat(40), branch: 'b' })).rejects.toMatchObject({
    code: 'git_failed',
  });
  expect(existsSync(join(scene.dir, 'a'))).toBe(false);
});

test('a clone that a fetch disturbs is made again; one that always fails, or has no room, is not', async () => {
  const repository = makeRepository(tempDir(), { a: 'a\n' });
  const failing = (times: number, words: string): { git: Git; tries: () => number } => {
    let tries = 0;
    return {
      tries: () => tries,
      git: async (args, options) =>
        args[0] === 'clone' && ++tries <= times
          ? { code: 128, stderr: words, stdout: Buffer.alloc(0) }
          : git(args, options),
    };
  };
  const disturbed = failing(1, "fatal: failed to create link 'tmp_pack_x': No such file or directory");
  const scene = await mirrored(repository);
  await makeWorkspace(disturbed.git, { ...scene, branch: 'b' });
  expect(plainGit(scene.dir, ['rev-parse', 'HEAD'])).toBe(scene.base);
  const broken = failing(9, 'fatal: broken');
  const other = { ...scene, dir: join(tempDir(), 'other'), branch: 'b' };
  await expect(makeWorkspace(broken.git, other)).rejects.toMatchObject({ code: 'git_failed' });
  expect(broken.tries()).toBe(3);
  const full = failing(9, 'fatal: write error: No space left on device');
  await expect(makeWorkspace(full.git, other)).rejects.toMatchObject({ code: 'disk_full' });
  expect(full.tries()).toBe(1);
});
