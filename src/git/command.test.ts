import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pipeline } from 'node:stream/promises';
import { Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { makeRepository } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import { checkGit, createGit } from './command.ts';
import { gitEnvironment, safeConfigFile } from './environment.ts';

const PATH = process.env['PATH'];
const git = createGit({ env: { PATH } });

/** A folder with a `git` of our own making. */
function fakeGit(script: string): string {
  const bin = tempDir();
  writeFileSync(join(bin, 'git'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'git'), 0o755);
  return `${bin}:${PATH}`;
}

describe('createGit', () => {
  test('passes arguments and input as they are, with no shell between', async () => {
    const { path } = makeRepository(tempDir(), {});
    const { stdout } = await git(['hash-object', '--stdin'], { cwd: path, input: 'hello\n' });
    expect(stdout.toString()).toBe('ce013625030ba8dba906f756967f9e9ca394464a\n');
    const odd = await git(['rev-parse', '--sq-quote', '$(touch marker); `x` "y"'], { cwd: path });
    expect(odd.stdout.toString()).toContain('$(touch marker)');
    expect(existsSync(join(path, 'marker'))).toBe(false);
  });

  test('says which command failed and how it ended, without passwords', async () => {
    const failed = git(['fetch', 'http://me:s3cret@127.0.0.1:1/x.git'], { cwd: makeRepository(tempDir(), {}).path });
    await expect(failed).rejects.toMatchObject({
      code: 'git_failed',
      message: expect.stringMatching(/^git fetch failed \(exit 128\): /),
    });
    await expect(failed).rejects.not.toMatchObject({ message: expect.stringContaining('s3cret') });
  });

  test('an exit code that is an answer is no error', async () => {
    const { path } = makeRepository(tempDir(), {});
    expect((await git(['rev-parse', '--verify', '--quiet', 'nothing'], { cwd: path, accept: [0, 1] })).code).toBe(1);
    expect((await git(['no-such-command'], { cwd: path, accept: 'any' })).code).toBe(1);
  });

  test('a NUL byte is refused before anything is started', async () => {
    await expect(git(['rev-parse', 'a\0b'])).rejects.toMatchObject({ code: 'git_failed' });
  });

  test('more output than allowed is an error, never a cut', async () => {
    const { path } = makeRepository(tempDir(), { big: 'x'.repeat(100_000) });
    await expect(git(['cat-file', 'blob', 'HEAD:big'], { cwd: path, maxBytes: 1000 })).rejects.toMatchObject({
      message: expect.stringContaining('more than 1000 bytes'),
    });
  });

  test('output can be taken as a stream; a taker that fails ends the command', async () => {
    const { path } = makeRepository(tempDir(), { big: 'x'.repeat(300_000) });
    let bytes = 0;
    const count = new Writable({ write: (chunk: Buffer, _e, done) => ((bytes += chunk.length), done()) });
    await git(['cat-file', 'blob', 'HEAD:big'], { cwd: path, onStdout: (stdout) => pipeline(stdout, count) });
    expect(bytes).toBe(300_000);
    const broken = new Writable({ write: (_chunk, _e, done) => done(new Error('full')) });
    await expect(
      git(['cat-file', 'blob', 'HEAD:big'], { cwd: path, onStdout: (stdout) => pipeline(stdout, broken) }),
    ).rejects.toMatchObject({
      code: 'git_failed',
      cause: expect.objectContaining({ message: 'full' }),
    });
  });

  test('its time is up: the whole process group is ended, even one that ignores SIGTERM', async () => {
    const marker = join(tempDir(), 'alive');
    const slow = createGit({ env: { PATH: fakeGit(`trap '' TERM; (trap '' TERM; sleep 2; touch ${marker}) & wait`) } });
    await expect(slow(['fetch'], { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'git_failed',
      details: { timed_out: true },
    });
    await sleep(1500);
    expect(existsSync(marker)).toBe(false);
  });

  test('stops on request', async () => {
    const slow = createGit({ env: { PATH: fakeGit('sleep 30') } });
    const abort = new AbortController();
    const running = slow(['fetch'], { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(running).rejects.toMatchObject({ code: 'git_failed', details: { aborted: true } });
    await expect(slow(['fetch'], { signal: abort.signal })).rejects.toThrow('enough');
  });

  test('a helper left running does not hold the command up for ever', async () => {
    const leaving = createGit({ env: { PATH: fakeGit('setsid sleep 9 >/dev/null & echo said >&2; exit 3') } });
    expect(await leaving(['fetch'], { accept: 'any', timeoutMs: 8_000 })).toMatchObject({ code: 3, stderr: 'said\n' });
  });

  test('no git, or one that is too old, is said with what to do', async () => {
    const none = createGit({ env: { PATH: tempDir() } });
    await expect(checkGit(none)).rejects.toMatchObject({
      code: 'tool_missing',
      hint: expect.stringContaining('Install git 2.34'),
    });
    const old = createGit({ env: { PATH: fakeGit('echo git version 2.33.9') } });
    await expect(checkGit(old)).rejects.toMatchObject({
      code: 'tool_missing',
      message: expect.stringContaining('2.33.9'),
    });
    const odd = createGit({ env: { PATH: fakeGit('echo hello') } });
    await expect(checkGit(odd)).rejects.toMatchObject({ code: 'tool_missing' });
    const next = createGit({ env: { PATH: fakeGit('echo git version 3.0.1') } });
    expect(await checkGit(next)).toBe('3.0.1');
    expect(await checkGit(git)).toMatch(/^2\.\d+/);
  });

  test('a full disk is said as such', async () => {
    const full = createGit({
      env: { PATH: fakeGit('echo "error: unable to write file: No space left on device" >&2; exit 128') },
    });
    await expect(full(['write-tree'])).rejects.toMatchObject({ code: 'disk_full' });
    const { path } = makeRepository(tempDir(), { a: 'a\n' });
    const taking = git(['cat-file', 'blob', 'HEAD:a'], {
      cwd: path,
      onStdout: () => Promise.reject(new Error('ENOSPC: no space left')),
    });
    await expect(taking).rejects.toMatchObject({ code: 'disk_full' });
  });

  test('a folder that is gone is not taken for a missing git', async () => {
    await expect(git(['status'], { cwd: join(tempDir(), 'gone') })).rejects.toMatchObject({ code: 'git_failed' });
  });
});

describe('configuration', () => {
  test('a safe command reads nothing of a system, a user or the environment', async () => {
    const home = tempDir();
    mkdirSync(join(home, '.config', 'git'), { recursive: true });
    writeFileSync(join(home, '.gitconfig'), '[user]\n\tname = Somebody\n');
    const env = {
      PATH,
      HOME: home,
      GIT_DIR: '/elsewhere',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'user.name',
      GIT_CONFIG_VALUE_0: 'Env',
    };
    const { path } = makeRepository(tempDir(), {});
    const asked = ['config', '--get', 'user.name'];
    expect((await createGit({ env })(asked, { cwd: path, accept: [0, 1] })).stdout.toString()).toBe('');
    expect((await createGit({ env })(asked, { cwd: path, user: 'person' })).stdout.toString()).toBe('Env\n');
    expect(
      (
        await createGit({ env: { PATH, HOME: home, GIT_DIR: '/elsewhere' } })(asked, { cwd: path, user: 'person' })
      ).stdout.toString(),
    ).toBe('Somebody\n');
  });

  test('a person keeps what reaches their remotes and loses what names a repository; nobody is ever asked', () => {
    const env = {
      HOME: '/h',
      SSH_AUTH_SOCK: '/s',
      GIT_SSH_COMMAND: 'ssh -i k',
      GIT_INDEX_FILE: 'i',
      GIT_WORK_TREE: 'w',
      GIT_TRACE: '1',
      GIT_ASKPASS: 'gui',
      EMPTY: undefined,
    };
    const person = gitEnvironment(env, 'person');
    expect(person).toMatchObject({
      HOME: '/h',
      SSH_AUTH_SOCK: '/s',
      GIT_SSH_COMMAND: 'ssh -i k',
      GIT_ASKPASS: '',
      GIT_TERMINAL_PROMPT: '0',
      LC_ALL: 'C',
    });
    for (const name of ['GIT_INDEX_FILE', 'GIT_WORK_TREE', 'GIT_TRACE', 'EMPTY'])
      expect(person).not.toHaveProperty(name);
    const nobody = gitEnvironment(env, 'none');
    expect(nobody).toMatchObject({ HOME: '/nonexistent', GIT_CONFIG_GLOBAL: safeConfigFile });
    expect(readFileSync(safeConfigFile, 'utf8').replaceAll(/^#.*\n/gm, '')).toBe('[safe]\n\tdirectory = *\n');
    for (const name of ['SSH_AUTH_SOCK', 'GIT_SSH_COMMAND', 'GIT_INDEX_FILE']) expect(nobody).not.toHaveProperty(name);
  });
});
