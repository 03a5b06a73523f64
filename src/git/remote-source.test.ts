import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { git } from '../../test/support/attempt.ts';
import { mirrorScene, type MirrorScene } from '../../test/support/mirrors.ts';
import { makeRepository, writeFiles } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import { createGit, type Git } from './command.ts';
import { openMirrors } from './mirror.ts';

describe('a URL', () => {
  const url = ({ repository }: MirrorScene): string => `file://${repository.path}`;

  test('HEAD is the default branch; branches and tags are always fresh', async () => {
    const here = mirrorScene();
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
    const here = mirrorScene();
    const { base } = await here.mirrors.resolve(url(here), undefined);
    here.ran.length = 0;
    expect((await here.mirrors.resolve(url(here), base.toUpperCase())).base).toBe(base);
    expect(here.ran).toEqual([]);
  });

  test('a commit that no branch has, an unusual ref, a detached HEAD', async () => {
    const here = mirrorScene();
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
    const here = mirrorScene({ a: 'a\n' }, ['--object-format=sha256']);
    expect((await here.mirrors.resolve(url(here), undefined)).base).toBe(here.repository.head());
    const empty = mirrorScene({});
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
    const here = mirrorScene();
    const outer = makeRepository(tempDir(), { a: 'outer\n' });
    outer.git('config', 'url.file:///nowhere/.insteadOf', `file://${here.root}/`);
    const inside = openMirrors(join(outer.path, 'data', 'mirrors'), git);
    expect((await inside.resolve(url(here), undefined)).base).toBe(here.repository.head());
  });

  test('the user’s own configuration holds', async () => {
    const here = mirrorScene();
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
    onTestFinished(() => server.closeAllConnections());
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/x`;
    await expect(openMirrors(tempDir(), impatient).resolve(url, undefined)).rejects.toMatchObject({
      code: 'repository_unreachable',
    });
  });
});
