import { execFile, execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Git } from '../src/git/command.ts';
import { makeWorkspace } from '../src/git/workspace.ts';
import { git } from './support/attempt.ts';
import { mirrorScene, type MirrorScene } from './support/mirrors.ts';
import { openAttemptDoor, type PodAttempt } from './support/attempt-door.ts';
import { makeRepository, plainEnv, plainGit } from './support/repository.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

/** An attempt's repository through the attempt door, fetched by real gits. */

const run = promisify(execFile);

/** git as a recorder runs it: the token in a header, nothing of the machine's configuration. */
const gitOf = ({ token }: PodAttempt, cwd: string, ...args: string[]) =>
  run('git', ['-c', `http.extraHeader=Authorization: Bearer ${token}`, ...args], {
    cwd,
    env: { ...plainEnv, GIT_TERMINAL_PROMPT: '0' },
    maxBuffer: 64 << 20,
  });

const emptyRepository = (...init: string[]) => makeRepository(join(tempDir(), 'clone'), {}, init).path;

/** Text that does not compress to nothing. */
function noise(bytes: number, seed: string): string {
  let text = '';
  for (let n = 0; text.length < bytes; n += 1) text += createHash('sha256').update(`${seed}${n}`).digest('base64');
  return text;
}

async function fetched(scene: MirrorScene, ref?: string, ...init: string[]) {
  const door = await openAttemptDoor({ scene });
  const attempt = await door.attempt(ref);
  const clone = emptyRepository(...init);
  const fetchBase = (...config: string[]) =>
    gitOf(
      attempt,
      clone,
      ...config,
      'fetch',
      '--quiet',
      '--no-tags',
      '--update-shallow',
      `${door.url}/repository`,
      attempt.base,
    );
  return { ...door, attempt, clone, fetchBase };
}

describe('the base', () => {
  it.each([['version=2'], ['version=0']])('comes with its history, by protocol %s', async (protocol) => {
    const scene = mirrorScene();
    const first = scene.repository.head();
    scene.repository.commit('Second', { b: 'b\n' });
    const { attempt, clone, fetchBase } = await fetched(scene);
    await fetchBase('-c', `protocol.${protocol}`);
    expect(plainGit(clone, ['rev-list', 'FETCH_HEAD']).split('\n')).toEqual([attempt.base, first]);
    plainGit(clone, ['fsck', '--strict']);
  });

  it('is the run’s, although its branch is gone or elsewhere by now', async () => {
    const scene = mirrorScene();
    const old = scene.repository.head();
    scene.repository.git('checkout', '-q', '-b', 'secret-plans');
    const later = scene.repository.commit('Later', { c: 'c\n' });
    const { attempt, clone, fetchBase, url } = await fetched(scene, old);
    await scene.mirrors.resolve(scene.repository.path, later);
    await fetchBase();
    expect(plainGit(clone, ['rev-parse', 'FETCH_HEAD'])).toBe(old);
    // Nobody sees another branch's name, a tag's, or another run's base.
    for (const protocol of ['version=2', 'version=1', 'version=0']) {
      const { stdout } = await gitOf(attempt, clone, '-c', `protocol.${protocol}`, 'ls-remote', `${url}/repository`);
      expect(stdout).toBe(`${old}\trefs/aideator/base/${old}\n`);
    }
  });

  it('comes from a sha256 repository', async () => {
    const root = mirrorScene({ a: 'a\n' }, ['--object-format=sha256']);
    const { attempt, clone, fetchBase } = await fetched(root, undefined, '--object-format=sha256');
    await fetchBase();
    expect(attempt.base).toHaveLength(64);
    expect(plainGit(clone, ['rev-parse', 'FETCH_HEAD'])).toBe(attempt.base);
  });

  it('comes from a mirror whose history ends early', async () => {
    const whole = mirrorScene();
    whole.repository.commit('Second', { b: 'b\n' });
    whole.repository.commit('Third', { b: 'c\n' });
    const shallow = mirrorScene();
    plainGit(shallow.root, ['clone', '-q', '--depth=2', `file://${whole.repository.path}`, 'shallow']);
    const repository = { ...shallow.repository, path: join(shallow.root, 'shallow') };
    const { attempt, clone, fetchBase } = await fetched({ ...shallow, repository });
    await fetchBase();
    expect(plainGit(clone, ['rev-list', 'FETCH_HEAD']).split('\n')).toHaveLength(2);
    expect(attempt.base).toBe(whole.repository.head());
    plainGit(clone, ['fsck']);
  });

  it('of a big repository comes whole, to several at once, of whom some wait', async () => {
    const scene = mirrorScene();
    const files = Object.fromEntries(
      Array.from({ length: 120 }, (_, n) => [`d${n % 20}/f${n}`, noise(60_000, `${n}`)]),
    );
    scene.repository.commit('Big', files);
    const door = await openAttemptDoor({ scene, maxFetches: 2 });
    const trees = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const attempt = await door.attempt();
        const clone = emptyRepository();
        await gitOf(attempt, clone, 'fetch', '-q', '--depth=1', `${door.url}/repository`, attempt.base);
        return plainGit(clone, ['rev-parse', 'FETCH_HEAD^{tree}']);
      }),
    );
    expect(new Set(trees)).toEqual(new Set([scene.repository.git('rev-parse', 'HEAD^{tree}')]));
  }, 120_000);

  it('makes a workspace, as a recorder makes it', async () => {
    const scene = mirrorScene({ 'src/a.ts': 'a\n' });
    const { attempt, url } = await fetched(scene);
    const header = {
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'http.extraHeader',
      GIT_CONFIG_VALUE_0: `Authorization: Bearer ${attempt.token}`,
    };
    const withToken: Git = (args, options) => git(args, { ...options, env: { ...options?.env, ...header } });
    const dir = join(tempDir(), 'workspace');
    await makeWorkspace(withToken, { source: `${url}/repository`, base: attempt.base, dir, branch: 'aideator/test' });
    expect(readFileSync(join(dir, 'src/a.ts'), 'utf8')).toBe('a\n');
    expect(plainGit(dir, ['status', '--porcelain', '--branch'])).toBe('## aideator/test');
  });

  it('may be asked for in gzip; a long negotiation is', async () => {
    const scene = mirrorScene();
    const { attempt, clone, fetchBase } = await fetched(scene);
    // A history of its own that the mirror knows nothing of: every commit is offered, in requests of more than 1 KB.
    const commit = (n: number) =>
      `commit refs/heads/mine\ncommitter T <t@example.com> ${1_700_000_000 + n} +0000\ndata 1\nx\n`;
    const input = Array.from({ length: 60 }, (_, n) => commit(n)).join('');
    execFileSync('git', ['fast-import', '--quiet'], { cwd: clone, env: plainEnv, input });
    await fetchBase();
    expect(plainGit(clone, ['rev-parse', 'FETCH_HEAD'])).toBe(attempt.base);
    const ask = (body: Buffer, more: Record<string, string> = {}) =>
      attempt.ask('/repository/git-upload-pack', {
        method: 'POST',
        body: new Uint8Array(body),
        headers: { 'git-protocol': 'version=2', ...more },
      });
    const listing = Buffer.from('0014command=ls-refs\n0000');
    const plain = await (await ask(listing)).text();
    expect(plain).toContain(`refs/aideator/base/${attempt.base}`);
    expect(await (await ask(gzipSync(listing), { 'content-encoding': 'gzip' })).text()).toBe(plain);
    expect((await ask(listing, { 'content-encoding': 'gzip' })).status).toBe(400);
    expect((await ask(listing, { 'content-encoding': 'br' })).status).toBe(415);
  });
});

describe('nothing else', () => {
  it('is served: no push, no archive, no dumb files, no other repository', async () => {
    const scene = mirrorScene();
    const { attempt, clone, url } = await fetched(scene);
    makeRepository(clone, { z: 'z\n' });
    const push = gitOf(attempt, clone, 'push', `${url}/repository`, 'HEAD:refs/heads/pushed');
    await expect(push).rejects.toThrow(/403/);
    for (const [path, status] of [
      ['/repository/info/refs', 403],
      ['/repository/info/refs?service=git-receive-pack', 403],
      ['/repository/info/refs?service=git-upload-archive', 403],
      ['/repository/../other/info/refs?service=git-upload-pack', 404],
      ['/repository/objects/info/packs', 404],
    ] as const)
      expect((await attempt.ask(path)).status).toBe(status);
    expect((await attempt.ask('/repository/git-receive-pack', { method: 'POST', body: '0000' })).status).toBe(404);
    await expect(gitOf({ ...attempt, token: 'at_wrong' }, clone, 'fetch', `${url}/repository`)).rejects.toThrow(/403/);
  });

  it('is run by what the mirror’s configuration or a header says', async () => {
    const scene = mirrorScene();
    const { attempt, clone, fetchBase } = await fetched(scene);
    const trap = join(tempDir(), 'trap');
    const { mirror } = await scene.mirrors.resolve(scene.repository.path, undefined);
    const path = scene.mirrors.path(mirror);
    plainGit(path, ['config', 'uploadpack.packObjectsHook', `touch ${trap}; git pack-objects`]);
    plainGit(path, ['config', 'core.fsmonitor', `touch ${trap}`]);
    await fetchBase();
    await attempt.ask('/repository/info/refs?service=git-upload-pack', {
      headers: { 'git-protocol': `$(touch ${trap})` },
    });
    expect([existsSync(trap), plainGit(clone, ['rev-parse', 'FETCH_HEAD'])]).toEqual([false, attempt.base]);
  });

  it('goes on when the client goes, or when the attempt is over; who waits gets its turn', async () => {
    const scene = mirrorScene();
    // More than the system's buffers hold.
    scene.repository.commit('Big', { big: randomBytes(16 << 20) });
    const running = new Set<number>();
    let started = 0;
    const counted: Git = async (args, options) => {
      if (args[0] !== 'upload-pack') return git(args, options);
      const id = (started += 1);
      running.add(id);
      return git(args, options).finally(() => running.delete(id));
    };
    const door = await openAttemptDoor({ scene, git: counted, maxFetches: 1 });
    const [one, two, three] = [await door.attempt(), await door.attempt(), await door.attempt()];
    // Asks for all of it and reads nothing.
    const stall = ({ token, base }: PodAttempt) => {
      const pkt = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`;
      const body = `${pkt('command=fetch')}0001${pkt(`want ${base}\n`)}${pkt('done\n')}0000`;
      const socket = connect(door.port, '127.0.0.1').pause();
      socket.on('error', () => undefined);
      socket.write(
        `POST /repository/git-upload-pack HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ngit-protocol: version=2\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      return socket;
    };
    const first = stall(one);
    await until(() => started === 1);
    const second = stall(two);
    const leaves = stall(one);
    const last = three.ask('/repository/info/refs?service=git-upload-pack');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect([started, running.size]).toEqual([1, 1]);
    leaves.destroy();
    first.destroy();
    await until(() => started === 2);
    await door.pods.close(two.attemptId);
    expect((await last).status).toBe(200);
    expect(started).toBe(3);
    await until(() => running.size === 0);
    second.destroy();
  }, 120_000);

  it('breaks: a mirror that is gone is an error with a status', async () => {
    const scene = mirrorScene();
    const door = await openAttemptDoor({ scene });
    const attempt = await door.attempt();
    scene.mirrors.path = () => '/nonexistent/mirror';
    const failed = await attempt.ask('/repository/info/refs?service=git-upload-pack');
    expect([failed.status, await failed.json()]).toMatchObject([500, { error: { type: 'git_failed' } }]);
  });
});
