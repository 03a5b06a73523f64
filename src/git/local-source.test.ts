import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { git } from '../../test/support/attempt.ts';
import { mirrorScene, typeOf } from '../../test/support/mirrors.ts';
import { asNobody } from '../../test/support/nobody.ts';
import { makeRepository, plainGit, writeFiles } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import type { Git } from './command.ts';
import { closest } from './failures.ts';
import { openMirrors } from './mirror.ts';

describe('a local repository', () => {
  test('HEAD, branch, tag, commit and expressions mean one commit, pinned in the mirror', async () => {
    const { repository, mirrors } = mirrorScene();
    const first = repository.head();
    repository.git('tag', '-a', '-m', 'One', 'v1');
    const second = repository.commit('Second', { b: 'b\n' });
    repository.git('checkout', '-q', '-b', 'topic');
    const third = repository.commit('Third', { c: 'c\n' });
    const of = async (ref?: string) => (await mirrors.resolve(repository.path, ref)).base;
    expect(await of()).toBe(third);
    expect(await of('main')).toBe(second);
    expect(await of('refs/heads/main')).toBe(second);
    expect(await of('v1')).toBe(first);
    expect(await of(first)).toBe(first);
    expect(await of(first.slice(0, 9))).toBe(first);
    expect(await of('topic~2')).toBe(first);
    const resolved = await mirrors.resolve(repository.path, 'v1');
    expect(resolved).toEqual({
      repository: repository.path,
      localPath: repository.path,
      mirror: expect.stringMatching(/^project-/),
      ref: 'v1',
      base: first,
      uncommitted: 0,
    });
    expect(
      plainGit(mirrors.path(resolved.mirror), ['for-each-ref', '--format=%(refname)', 'refs/aideator'])
        .split('\n')
        .toSorted(),
    ).toEqual([first, second, third].map((commit) => `refs/aideator/base/${commit}`).toSorted());
  });

  test('a commit that is here already costs no fetch; a new one does', async () => {
    const { repository, mirrors, ran } = mirrorScene();
    await mirrors.resolve(repository.path, undefined);
    ran.length = 0;
    await mirrors.resolve(repository.path, undefined);
    expect(ran.toSorted()).toEqual(['rev-parse', 'status']);
    repository.commit('Next', { a: 'b\n' });
    await mirrors.resolve(repository.path, undefined);
    expect(ran).toContain('fetch');
  });

  test('detached HEAD, a commit of no branch, an unusual ref, a remote branch', async () => {
    const { repository, mirrors } = mirrorScene();
    const lost = repository.commit('Lost', { a: 'lost\n' });
    repository.git('update-ref', 'refs/changes/7', lost);
    repository.git('update-ref', 'refs/remotes/origin/side', lost);
    repository.git('reset', '-q', '--hard', 'HEAD^');
    repository.git('checkout', '-q', '--detach');
    const detached = repository.commit('Detached', { a: 'detached\n' });
    expect((await mirrors.resolve(repository.path, undefined)).base).toBe(detached);
    expect((await mirrors.resolve(repository.path, 'refs/changes/7')).base).toBe(lost);
    expect((await mirrors.resolve(repository.path, 'origin/side')).base).toBe(lost);
    const { mirror } = await mirrors.resolve(repository.path, lost);
    expect(typeOf(mirrors, mirror, lost)).toBe('commit');
  });

  test('a folder inside, .git itself, a link to it and a linked worktree are the same repository', async () => {
    const { repository, mirrors, root } = mirrorScene({ 'deep/er/a': 'a\n' });
    const { mirror } = await mirrors.resolve(repository.path, undefined);
    symlinkSync(repository.path, join(root, 'link'));
    for (const path of ['deep/er', '.git', '.git/refs', '../link', '../link/deep']) {
      expect(await mirrors.resolve(join(repository.path, path), undefined)).toMatchObject({
        localPath: repository.path,
        repository: repository.path,
        mirror,
      });
    }
    const linked = join(root, 'linked');
    repository.git('worktree', 'add', '-q', '-b', 'side', linked);
    writeFiles(linked, { b: 'b\n' });
    plainGit(linked, ['add', '-A']);
    plainGit(linked, ['commit', '-qm', 'Side']);
    writeFiles(linked, { c: 'c\n' });
    expect(await mirrors.resolve(linked, undefined)).toMatchObject({
      localPath: linked,
      mirror,
      base: plainGit(linked, ['rev-parse', 'HEAD']),
      uncommitted: 1,
    });
  });

  test('a bare repository, and names with spaces, quotes and line breaks', async () => {
    const { repository, mirrors, root } = mirrorScene();
    for (const name of ['bare one.git', `it's "odd"\n$(touch x)\nname`]) {
      const path = join(root, name);
      plainGit(root, ['clone', '-q', '--bare', repository.path, path]);
      expect(await mirrors.resolve(path, 'main')).toMatchObject({
        localPath: path,
        base: repository.head(),
        uncommitted: 0,
      });
    }
    const odd = makeRepository(join(root, 'work\ntree'), { 'in/a': 'a\n' });
    expect(await mirrors.resolve(join(odd.path, 'in'), undefined)).toMatchObject({
      localPath: odd.path,
      base: odd.head(),
    });
  });

  test('shallow, with borrowed objects, with SHA-256 names', async () => {
    const { repository, mirrors, root } = mirrorScene();
    for (let i = 0; i < 3; i++) repository.commit(`Commit ${i}`, { a: `${i}\n` });
    plainGit(root, ['clone', '-q', '--depth=2', `file://${repository.path}`, 'shallow']);
    const shallow = await mirrors.resolve(join(root, 'shallow'), undefined);
    expect(shallow.base).toBe(repository.head());
    expect(plainGit(mirrors.path(shallow.mirror), ['rev-list', '--count', shallow.base])).toBe('2');
    plainGit(join(root, 'shallow'), ['fetch', '-q', '--unshallow']);
    plainGit(join(root, 'shallow'), ['-c', 'user.name=x', 'commit', '-q', '--allow-empty', '-m', 'On']);
    expect((await mirrors.resolve(join(root, 'shallow'), undefined)).base).toBe(
      plainGit(join(root, 'shallow'), ['rev-parse', 'HEAD']),
    );
    plainGit(root, ['clone', '-q', '--shared', repository.path, 'borrowing']);
    expect((await mirrors.resolve(join(root, 'borrowing'), undefined)).base).toBe(repository.head());
    const wide = makeRepository(join(root, 'wide'), { a: 'a\n' }, ['--object-format=sha256']);
    const resolved = await mirrors.resolve(wide.path, undefined);
    expect(resolved.base).toHaveLength(64);
    expect(typeOf(mirrors, resolved.mirror, resolved.base)).toBe('commit');
  });

  test('uncommitted changes are counted; unknown is null', async () => {
    const { repository, mirrors, root } = mirrorScene({ a: 'a\n', b: 'b\n', '.gitignore': 'ignored\n' });
    repository.git('mv', 'b', 'c');
    repository.write({ a: 'A\n', new: 'x\n', 'folder/one': '1\n', 'folder/two': '2\n', ignored: 'x\n' });
    expect((await mirrors.resolve(repository.path, undefined)).uncommitted).toBe(5);
    const unsure = openMirrors(join(root, 'unsure'), (args, options) =>
      git(args[0] === 'status' ? ['no-such-command'] : args, options),
    );
    expect((await unsure.resolve(repository.path, undefined)).uncommitted).toBeNull();
  });

  test("another user's repository is only read; its configuration runs nothing", async () => {
    const { repository, root } = mirrorScene();
    const marker = join(root, 'marker');
    repository.git('config', 'core.fsmonitor', `touch ${marker}`);
    const foreign: Git = (args, options) =>
      git(args, { ...options, env: { ...options?.env, GIT_TEST_ASSUME_DIFFERENT_OWNER: '1' } });
    const mirrors = openMirrors(join(root, 'mirrors'), foreign);
    expect(await mirrors.resolve(repository.path, undefined)).toMatchObject({
      base: repository.head(),
      uncommitted: null,
    });
    expect(existsSync(marker)).toBe(false);
    // Over a URL it is git's own upload-pack that looks at the owner: since 2.45, and since the security releases of that day.
    const url = `file://${repository.path}`;
    const { code } = await foreign(['ls-remote', url], { user: 'person', accept: 'any' });
    if (code === 0) return;
    await expect(mirrors.resolve(url, undefined)).rejects.toMatchObject({
      code: 'repository_unreachable',
      hint: expect.stringContaining('safe.directory'),
    });
  });
});

describe('bad local repositories', () => {
  const fails = async (path: string, ref?: string) => {
    const error = await openMirrors(join(tempDir(), 'mirrors'), git)
      .resolve(path, ref)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ hint: expect.stringMatching(/./) });
    return error;
  };

  test('missing, a file, not git, empty', async () => {
    const root = tempDir();
    expect(await fails(join(root, 'missing'))).toMatchObject({ code: 'repository_not_found' });
    writeFileSync(join(root, 'file'), 'x');
    expect(await fails(join(root, 'file'))).toMatchObject({
      code: 'repository_not_git',
      message: expect.stringContaining('is a file'),
    });
    mkdirSync(join(root, 'plain'));
    expect(await fails(join(root, 'plain'))).toMatchObject({ code: 'repository_not_git' });
    makeRepository(join(root, 'empty'), {});
    expect(await fails(join(root, 'empty'))).toMatchObject({
      code: 'repository_empty',
      hint: expect.stringContaining('git commit'),
    });
    expect(await fails(join(root, 'empty'), 'main')).toMatchObject({ code: 'repository_empty' });
    plainGit(root, ['init', '-q', '--bare', 'bare']);
    expect(await fails(join(root, 'bare'))).toMatchObject({ code: 'repository_empty' });
    expect(await fails('')).toMatchObject({ code: 'repository_not_found' });
  });

  test('damaged', async () => {
    const { path } = makeRepository(tempDir(), { a: 'a\n' });
    writeFileSync(join(path, '.git/config'), '[core\n');
    expect(await fails(path)).toMatchObject({
      code: 'repository_not_git',
      message: expect.stringContaining('bad config'),
    });
  });

  test('a folder that may not be entered', async () => {
    const root = tempDir();
    const { path } = makeRepository(join(root, 'closed', 'project'), { a: 'a\n' });
    await asNobody(root, async () => {
      chmodSync(join(root, 'closed'), 0);
      expect(await fails(path)).toMatchObject({
        code: 'repository_not_found',
        message: expect.stringContaining('may not be read'),
      });
      chmodSync(join(root, 'closed'), 0o755);
    });
  });

  test('HEAD at a branch without a commit', async () => {
    const repository = makeRepository(tempDir(), { a: 'a\n' });
    repository.git('symbolic-ref', 'HEAD', 'refs/heads/unborn');
    expect(await fails(repository.path)).toMatchObject({ code: 'unknown_ref', hint: expect.stringContaining('main') });
  });

  test('an unknown ref, with the names that are close', async () => {
    const repository = makeRepository(tempDir(), { a: 'a\n' });
    repository.git('branch', 'feature/login');
    repository.git('tag', 'v1.2.0');
    expect(await fails(repository.path, 'mian')).toMatchObject({ code: 'unknown_ref', hint: 'Did you mean main?' });
    expect(await fails(repository.path, 'login')).toMatchObject({
      code: 'unknown_ref',
      hint: 'Did you mean feature/login?',
    });
    expect(await fails(repository.path, '0'.repeat(40))).toMatchObject({ code: 'unknown_ref' });
    expect(await fails(repository.path, 'HEAD:a')).toMatchObject({ code: 'unknown_ref' });
  });

  test.each(['-x', '--upload-pack=touch x', 'main..topic', '^main', 'a\nb', 'a\0b', ''])(
    'the ref %j never reaches git',
    async (ref) => {
      const repository = makeRepository(tempDir(), { a: 'a\n' });
      const never: Git = () => Promise.reject(new Error('git was run'));
      await expect(openMirrors(tempDir(), never).resolve(repository.path, ref)).rejects.toMatchObject({
        code: 'unknown_ref',
      });
    },
  );

  test('close names', () => {
    expect(closest('origin/main', ['main', 'master', 'x'])).toEqual(['main']);
    expect(closest('release', ['release-1', 'release-2', 'releese', 'other'])).toEqual([
      'release-1',
      'release-2',
      'releese',
    ]);
    expect(closest('x', ['quite-another-name', 'y'])).toEqual(['y']);
  });
});
