import { existsSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { git } from '../../test/support/attempt.ts';
import { asNobody } from '../../test/support/nobody.ts';
import { makeRepository, plainGit, writeFiles, type TestRepository } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import { createGit, type Git } from './command.ts';
import { closest } from './failures.ts';
import type { Mirrors } from './git.ts';
import { openMirrors } from './mirror.ts';

interface Scene {
  repository: TestRepository;
  mirrors: Mirrors;
  /** The git commands that were run, by their words. */
  ran: string[];
  root: string;
}

function scene(files: Record<string, string> = { a: 'a\n' }, init: readonly string[] = []): Scene {
  const root = tempDir();
  const repository = makeRepository(join(root, 'project'), files, init);
  const ran: string[] = [];
  const counted: Git = (args, options) => (ran.push(args[0] ?? ''), git(args, options));
  return { repository, mirrors: openMirrors(join(root, 'mirrors'), counted), ran, root };
}

/** What the mirror has of a commit. */
const has = (mirrors: Mirrors, mirror: string, commit: string): string =>
  plainGit(mirrors.path(mirror), ['cat-file', '-t', commit]);

describe('a local repository', () => {
  test('HEAD, branch, tag, commit and expressions mean one commit, pinned in the mirror', async () => {
    const { repository, mirrors } = scene();
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
    const { repository, mirrors, ran } = scene();
    await mirrors.resolve(repository.path, undefined);
    ran.length = 0;
    await mirrors.resolve(repository.path, undefined);
    expect(ran.toSorted()).toEqual(['rev-parse', 'status']);
    repository.commit('Next', { a: 'b\n' });
    await mirrors.resolve(repository.path, undefined);
    expect(ran).toContain('fetch');
  });

  test('pins outlive branches that are moved, renamed and removed', async () => {
    const { repository, mirrors } = scene();
    const { base, mirror } = await mirrors.resolve(repository.path, undefined);
    repository.git('commit', '-q', '--amend', '-m', 'Other');
    repository.git('branch', '-m', 'main', 'main/deep');
    const next = await mirrors.resolve(repository.path, undefined);
    expect(next.mirror).toBe(mirror);
    expect(next.base).not.toBe(base);
    plainGit(mirrors.path(mirror), ['gc', '-q', '--prune=now']);
    expect(has(mirrors, mirror, base)).toBe('commit');
    expect((await mirrors.resolve(repository.path, base)).base).toBe(base);
  });

  test('detached HEAD, a commit of no branch, an unusual ref, a remote branch', async () => {
    const { repository, mirrors } = scene();
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
    expect(has(mirrors, mirror, lost)).toBe('commit');
  });

  test('a folder inside, .git itself, a link to it and a linked worktree are the same repository', async () => {
    const { repository, mirrors, root } = scene({ 'deep/er/a': 'a\n' });
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
    const { repository, mirrors, root } = scene();
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
    const { repository, mirrors, root } = scene();
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
    expect(has(mirrors, resolved.mirror, resolved.base)).toBe('commit');
  });

  test('uncommitted changes are counted; unknown is null', async () => {
    const { repository, mirrors, root } = scene({ a: 'a\n', b: 'b\n', '.gitignore': 'ignored\n' });
    repository.git('mv', 'b', 'c');
    repository.write({ a: 'A\n', new: 'x\n', 'folder/one': '1\n', 'folder/two': '2\n', ignored: 'x\n' });
    expect((await mirrors.resolve(repository.path, undefined)).uncommitted).toBe(5);
    const unsure = openMirrors(join(root, 'unsure'), (args, options) =>
      git(args[0] === 'status' ? ['no-such-command'] : args, options),
    );
    expect((await unsure.resolve(repository.path, undefined)).uncommitted).toBeNull();
  });

  test("another user's repository is only read; its configuration runs nothing", async () => {
    const { repository, root } = scene();
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
    await expect(mirrors.resolve(`file://${repository.path}`, undefined)).rejects.toMatchObject({
      code: 'repository_unreachable',
      hint: expect.stringContaining('safe.directory'),
    });
  });

  test('many at once on one mirror', async () => {
    const { repository, mirrors } = scene();
    const commits = [repository.head(), ...[1, 2, 3, 4].map((i) => repository.commit(`Commit ${i}`, { a: `${i}\n` }))];
    const [resolved, failed] = await Promise.all([
      Promise.all(commits.map((commit) => mirrors.resolve(repository.path, commit))),
      mirrors.resolve(repository.path, 'nope').catch((error: unknown) => error),
    ]);
    expect(resolved.map(({ base }) => base)).toEqual(commits);
    expect(failed).toMatchObject({ code: 'unknown_ref' });
  });

  test('a lock left by a git that was killed is removed; one that is held is waited for', async () => {
    const { repository, mirrors } = scene();
    const { mirror } = await mirrors.resolve(repository.path, undefined);
    const lock = join(mirrors.path(mirror), 'refs/heads/main.lock');
    writeFileSync(lock, '');
    utimesSync(lock, new Date(0), new Date(0));
    const next = repository.commit('Next', { a: 'b\n' });
    expect((await mirrors.resolve(repository.path, undefined)).base).toBe(next);
    expect(existsSync(lock)).toBe(false);
  });
});

describe('bad local repositories', () => {
  const fails = async (path: string, ref?: string) => {
    const error = await openMirrors(join(tempDir(), 'mirrors'), git)
      .resolve(path, ref)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ hint: expect.stringMatching(/./) });
    return expect(error);
  };

  test('missing, a file, not git, empty', async () => {
    const root = tempDir();
    (await fails(join(root, 'missing'))).toMatchObject({ code: 'repository_not_found' });
    writeFileSync(join(root, 'file'), 'x');
    (await fails(join(root, 'file'))).toMatchObject({
      code: 'repository_not_git',
      message: expect.stringContaining('is a file'),
    });
    mkdirSync(join(root, 'plain'));
    (await fails(join(root, 'plain'))).toMatchObject({ code: 'repository_not_git' });
    makeRepository(join(root, 'empty'), {});
    (await fails(join(root, 'empty'))).toMatchObject({
      code: 'repository_empty',
      hint: expect.stringContaining('git commit'),
    });
    (await fails(join(root, 'empty'), 'main')).toMatchObject({ code: 'repository_empty' });
    plainGit(root, ['init', '-q', '--bare', 'bare']);
    (await fails(join(root, 'bare'))).toMatchObject({ code: 'repository_empty' });
    (await fails('')).toMatchObject({ code: 'repository_not_found' });
  });

  test('damaged', async () => {
    const { path } = makeRepository(tempDir(), { a: 'a\n' });
    writeFileSync(join(path, '.git/config'), '[core\n');
    (await fails(path)).toMatchObject({ code: 'repository_not_git', message: expect.stringContaining('bad config') });
  });

  test('a folder that may not be entered', async () => {
    const root = tempDir();
    const { path } = makeRepository(join(root, 'closed', 'project'), { a: 'a\n' });
    await asNobody(root, async () => {
      const { chmodSync } = await import('node:fs');
      chmodSync(join(root, 'closed'), 0);
      (await fails(path)).toMatchObject({
        code: 'repository_not_found',
        message: expect.stringContaining('may not be read'),
      });
      chmodSync(join(root, 'closed'), 0o755);
    });
  });

  test('HEAD at a branch without a commit', async () => {
    const repository = makeRepository(tempDir(), { a: 'a\n' });
    repository.git('symbolic-ref', 'HEAD', 'refs/heads/unborn');
    (await fails(repository.path)).toMatchObject({ code: 'unknown_ref', hint: expect.stringContaining('main') });
  });

  test('an unknown ref, with the names that are close', async () => {
    const repository = makeRepository(tempDir(), { a: 'a\n' });
    repository.git('branch', 'feature/login');
    repository.git('tag', 'v1.2.0');
    (await fails(repository.path, 'mian')).toMatchObject({ code: 'unknown_ref', hint: 'Did you mean main?' });
    (await fails(repository.path, 'login')).toMatchObject({ code: 'unknown_ref', hint: 'Did you mean feature/login?' });
    (await fails(repository.path, '0'.repeat(40))).toMatchObject({ code: 'unknown_ref' });
    (await fails(repository.path, 'HEAD:a')).toMatchObject({ code: 'unknown_ref' });
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

describe('a URL', () => {
  const url = ({ repository }: Scene): string => `file://${repository.path}`;

  test('HEAD is the default branch; branches and tags are always fresh', async () => {
    const here = scene();
    const { repository, mirrors } = here;
    const first = repository.head();
    repository.git('tag', '-a', '-m', 'One', 'v1');
    const resolved = await mirrors.resolve(url(here), undefined);
    expect(resolved).toEqual({
      repository: url(here),
      localPath: null,
      mirror: expect.stringMatching(/^project-/),
      ref: null,
      base: first,
      uncommitted: 0,
    });
    expect((await mirrors.resolve(url(here), 'v1')).base).toBe(first);
    const second = repository.commit('Second', { a: 'b\n' });
    repository.git('tag', '-f', 'v1');
    repository.git('branch', 'side', first);
    for (const ref of [undefined, 'HEAD', '@', 'main', 'refs/heads/main', 'v1'])
      expect((await mirrors.resolve(url(here), ref)).base).toBe(second);
    for (const ref of ['side', 'HEAD~1', 'HEAD^', 'main~1', first.slice(0, 10), first])
      expect((await mirrors.resolve(url(here), ref)).base).toBe(first);
  });

  test('a whole commit name that is here needs no network', async () => {
    const here = scene();
    const { base } = await here.mirrors.resolve(url(here), undefined);
    here.ran.length = 0;
    expect((await here.mirrors.resolve(url(here), base.toUpperCase())).base).toBe(base);
    expect(here.ran).toEqual([]);
  });

  test('a commit that no branch has, an unusual ref, a detached HEAD', async () => {
    const here = scene();
    const { repository, mirrors } = here;
    const lost = repository.commit('Lost', { a: 'lost\n' });
    repository.git('reset', '-q', '--hard', 'HEAD^');
    repository.git('config', 'uploadpack.allowAnySHA1InWant', 'true');
    expect((await mirrors.resolve(url(here), lost)).base).toBe(lost);
    const asked = repository.commit('Asked', { a: 'asked\n' });
    repository.git('update-ref', 'refs/pull/1/head', asked);
    repository.git('reset', '-q', '--hard', 'HEAD^');
    expect((await mirrors.resolve(url(here), 'refs/pull/1/head')).base).toBe(asked);
    repository.git('checkout', '-q', '--detach');
    const detached = repository.commit('Detached', { a: 'detached\n' });
    expect((await mirrors.resolve(url(here), undefined)).base).toBe(detached);
  });

  test('SHA-256, empty, no such branch, HEAD at nothing', async () => {
    const here = scene({ a: 'a\n' }, ['--object-format=sha256']);
    expect((await here.mirrors.resolve(url(here), undefined)).base).toBe(here.repository.head());
    const empty = scene({});
    await expect(empty.mirrors.resolve(url(empty), undefined)).rejects.toMatchObject({ code: 'repository_empty' });
    await expect(here.mirrors.resolve(url(here), 'mian')).rejects.toMatchObject({
      code: 'unknown_ref',
      hint: 'Did you mean main?',
    });
    await expect(here.mirrors.resolve(url(here), 'f'.repeat(64))).rejects.toMatchObject({ code: 'unknown_ref' });
    here.repository.git('symbolic-ref', 'HEAD', 'refs/heads/unborn');
    await expect(here.mirrors.resolve(url(here), undefined)).rejects.toMatchObject({
      code: 'unknown_ref',
      hint: expect.stringContaining('main'),
    });
  });

  test('the folder the mirrors are in is never taken for the repository', async () => {
    const here = scene();
    const outer = makeRepository(tempDir(), { a: 'outer\n' });
    outer.git('config', 'url.file:///nowhere/.insteadOf', `file://${here.root}/`);
    const inside = openMirrors(join(outer.path, 'data', 'mirrors'), git);
    expect((await inside.resolve(url(here), undefined)).base).toBe(here.repository.head());
  });

  test('the user’s own configuration holds', async () => {
    const here = scene();
    const home = tempDir();
    writeFileSync(join(home, '.gitconfig'), `[url "file://${here.root}/"]\n\tinsteadOf = work:\n`);
    const mirrors = openMirrors(
      tempDir(),
      createGit({ env: { PATH: process.env['PATH'], HOME: home, GIT_CONFIG_NOSYSTEM: '1' } }),
    );
    expect((await mirrors.resolve('work:project', undefined)).base).toBe(here.repository.head());
  });
});

describe('remotes that say no', () => {
  const mirrors = () => openMirrors(tempDir(), git);

  async function answering(status: number, headers: Record<string, string> = {}, body = ''): Promise<string> {
    const server = createServer((_request, response) => response.writeHead(status, headers).end(body));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    onTestFinished(() => void server.close());
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/team/project.git`;
  }

  test('a closed port', async () => {
    const url = await answering(200);
    const closed = url.replace(/:\d+/, ':1');
    await expect(mirrors().resolve(closed, undefined)).rejects.toMatchObject({
      code: 'repository_unreachable',
      hint: expect.any(String),
      message: expect.stringContaining(closed),
    });
  });

  test('a password is needed: said at once, never asked for; the one that was given is not shown', async () => {
    const url = await answering(401, { 'www-authenticate': 'Basic realm="x"' });
    await expect(mirrors().resolve(url, undefined)).rejects.toMatchObject({
      code: 'repository_auth_required',
      hint: expect.stringContaining('credential helper'),
    });
    const error: unknown = await mirrors()
      .resolve(url.replace('http://', 'http://me:hunter2@'), 'main')
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'repository_auth_required' });
    expect(JSON.stringify([String(error), error])).not.toContain('hunter2');
  });

  test.each([
    [404, 'repository_not_found'],
    [403, 'repository_auth_required'],
    [503, 'repository_unreachable'],
    [200, 'repository_not_git'],
  ])('HTTP %i is %s', async (status, code) => {
    await expect(
      mirrors().resolve(
        await answering(
          status,
          {},
          '<!doctype html>\n<html><head><title>A page about something else</title></head></html>\n',
        ),
        undefined,
      ),
    ).rejects.toMatchObject({ code });
  });

  test('ssh that refuses the key, a host that does not exist, a file:// that is none', async () => {
    const saying = (words: string) => {
      const folder = tempDir();
      writeFiles(folder, { ssh: { executable: `#!/bin/sh\necho "${words}" >&2\nexit 255\n` } });
      return openMirrors(
        tempDir(),
        createGit({ env: { PATH: process.env['PATH'], GIT_SSH_COMMAND: join(folder, 'ssh') } }),
      );
    };
    await expect(
      saying('git@host: Permission denied (publickey).').resolve('git@host:a/b.git', undefined),
    ).rejects.toMatchObject({ code: 'repository_auth_required' });
    await expect(
      saying('ssh: Could not resolve hostname host').resolve('git@host:a/b.git', undefined),
    ).rejects.toMatchObject({ code: 'repository_unreachable' });
    await expect(saying('something else').resolve('ssh://host/b.git', undefined)).rejects.toMatchObject({
      code: 'repository_unreachable',
    });
    await expect(mirrors().resolve('file:///nowhere/at/all', undefined)).rejects.toMatchObject({
      code: expect.stringMatching(/^repository_not_(git|found)$/),
    });
  });

  test('one that never answers is given up', async () => {
    const impatient: Git = (args, options) => git(args, { ...options, timeoutMs: 300 });
    const server = createServer(() => undefined);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    onTestFinished(() => void server.closeAllConnections());
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/x`;
    await expect(openMirrors(tempDir(), impatient).resolve(url, undefined)).rejects.toMatchObject({
      code: 'repository_unreachable',
    });
  });
});

test('a mirror says what it is, and is not looked for elsewhere', async () => {
  const { repository, mirrors } = scene();
  const { mirror } = await mirrors.resolve(repository.path, undefined);
  expect(readFileSync(join(mirrors.path(mirror), 'description'), 'utf8')).toBe(`Mirror of ${repository.path}\n`);
  expect(plainGit(mirrors.path(mirror), ['config', 'gc.auto'])).toBe('0');
  expect(mirrors.path('../../etc')).toBe(join(mirrors.path('x'), '..', 'etc'));
});
