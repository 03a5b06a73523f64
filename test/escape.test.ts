import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CHECKED, REFUSED } from '../src/agent/sandbox/refused-calls.ts';
import { both, HOSTILE, hostile, listener, outcome, quick, unlike, type Said } from './support/hostile.ts';
import { prepareAttempt, type PreparedAttempt } from './support/recorded.ts';
import { noSandbox } from './support/sandbox.ts';

/**
 * Attacks of an agent on what is around it, each by a hostile agent in the real sandbox. Where it is cheap, the same attack is made
 * without one and must reach its goal: one that fails everywhere shows nothing.
 */

const isRoot = process.getuid?.() === 0;
const perl = spawnSync('perl', ['-e', '1']).status === 0;
if (!perl) process.stderr.write('SKIPPED: attacks by bare system calls, because perl is not installed\n');

describe.skipIf(noSandbox !== null)('an agent in the sandbox does not reach', () => {
  test('files of the user, of the server and of other attempts', async () => {
    const planted: string[] = [];
    const { inside, outside } = await both((attempt) => {
      const root = dirname(attempt.directory);
      planted.push(join(attempt.directory, 'planted'));
      const place = (path: string): string => {
        mkdirSync(dirname(join(root, path)), { recursive: true });
        writeFileSync(join(root, path), 'canary');
        return join(root, path);
      };
      return {
        'read the key of the user': place('home/.ssh/id_ed25519'),
        'read the credentials of a cloud': place('home/.aws/credentials'),
        'open-to-write the start of the user’s shell': place('home/.bashrc'),
        'make a file in the user’s home': join(root, 'home', 'planted'),
        'read the database': place('data/aideator.sqlite'),
        'list the data directory': root,
        'read another attempt': place('other/workspace/secret.txt'),
        'open-to-write its journal': join(attempt.directory, 'journal.ndjson'),
        'read its claim': place('attempt/claim.json'),
        'open-to-write the mirror': join(attempt.spec.repository.source, 'config'),
        'make a file beside its workspace': join(attempt.directory, 'planted'),
      };
    });
    expect(unlike(inside, 'refused ENOENT')).toEqual({
      // The folders on the way to the workspace are there, and empty. They lie in /tmp here, which is its own.
      'list the data directory': 'reached 1',
      'make a file beside its workspace': 'reached',
    });
    expect(planted.map((path) => existsSync(path))).toEqual([false, true]);
    expect(unlike(outside, 'reached')).toEqual({});
  });

  test('what the system keeps for itself', async () => {
    const targets = {
      'read the password hashes': '/etc/shadow',
      'rewrite the program for core dumps': '/proc/sys/kernel/core_pattern',
      'rewrite a kernel setting': '/proc/sys/vm/swappiness',
    };
    const { inside, outside } = await both(() => targets);
    expect(inside).toEqual({
      'read the password hashes': 'refused ENOENT',
      'rewrite the program for core dumps': 'refused EROFS',
      'rewrite a kernel setting': 'refused EROFS',
    });
    if (isRoot) expect(unlike(outside, 'reached')).toEqual({});
    const { outcomes } = await outcome(
      hostile(
        {
          'open-to-write the key that reboots': '/proc/sysrq-trigger',
          'open-to-write a program': '/usr/bin/env',
          'open-to-write the agent’s own code': HOSTILE,
          'open-to-write Node': process.execPath,
          'make a device': '/dev/planted',
          'make a file at the root': '/planted',
          'shell list the host’s devices': 'ls /sys/class/net',
        },
        {},
      ),
    );
    expect(unlike(outcomes, 'refused')).toEqual({});
  });

  test('sockets: of the user, the server, other attempts, the network', async () => {
    const abstract = `\0aideator-escape-${process.pid}`;
    await listener({ path: abstract });
    const port = await listener({ host: '127.0.0.1', port: 0 });
    const address = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.family === 'IPv4' && !each.internal)?.address;
    const outsideAddress = address ?? '127.0.0.2';
    const far = await listener({ host: outsideAddress, port: 0 });
    const sockets = ['home/agent.ssh', 'run/docker.sock', 'door.sock', 'other/sandbox/models.sock'];
    const made: Promise<number>[] = [];
    const { inside, outside } = await both((attempt) => {
      const root = dirname(attempt.directory);
      for (const path of sockets) {
        mkdirSync(dirname(join(root, path)), { recursive: true });
        made.push(listener({ path: join(root, path) }));
      }
      return {
        ...Object.fromEntries(sockets.map((path) => [`connect to ${path}`, join(root, path)])),
        'connect to an abstract socket': abstract,
        'connect to the server’s public port': `127.0.0.1:${port}`,
        'connect to another address': `${outsideAddress}:${far}`,
      };
    });
    await Promise.all(made);
    expect(Object.keys(inside).length).toBe(7);
    expect(unlike(inside, 'refused')).toEqual({});
    expect(unlike(outside, 'reached')).toEqual({});
  });

  test('its recorder', async () => {
    const pid = String(process.pid);
    const { inside, outside } = await both(() => ({
      'signal to the recorder': pid,
      'read its environment': `/proc/${pid}/environ`,
      'open-to-write its memory': `/proc/${pid}/mem`,
      'list its open files': `/proc/${pid}/fd`,
    }));
    expect(inside).toEqual({
      'signal to the recorder': 'refused ESRCH',
      'read its environment': 'refused ENOENT',
      'open-to-write its memory': 'refused ENOENT',
      'list its open files': 'refused ENOENT',
    });
    expect(unlike(outside, 'reached')).toEqual({});
  });

  test('the data directory, though a folder around it is opened', async () => {
    const attacks = (attempt: PreparedAttempt): Said => {
      const root = dirname(attempt.directory);
      writeFileSync(join(root, 'aideator.sqlite'), 'canary');
      return { 'read the database': join(root, 'aideator.sqlite'), 'list what is opened': tmpdir() };
    };
    const { outcomes } = await outcome(hostile(attacks, { read_paths: [tmpdir()] }));
    expect(outcomes).toEqual({
      'read the database': 'refused ENOENT',
      'list what is opened': expect.stringContaining('reached') as unknown,
    });
  });

  test('anything by its way to the models: another path, another host, another socket', async () => {
    const attempt = prepareAttempt({ sandbox: {} });
    attempt.spec.agent.env = { BASE: '{base_url}' };
    const curl = (what: string): string =>
      `node -e 'fetch(${what}).then(async (r) => console.log(r.status, (await r.text()).slice(0, 200)))'`;
    attempt.spec.agent.command = [
      '{node}',
      HOSTILE,
      JSON.stringify({
        'shell a path that is none of a model': curl('process.env.BASE + "/attempt/result"'),
        'shell as a web page': curl('process.env.BASE + "/v1/messages", { headers: { origin: "http://x" } }'),
      }),
    ];
    const env = { ...process.env, PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
    const { said } = await attempt.run({ graces: quick, env });
    const outcomes = JSON.parse(said.at(-1) ?? '{}') as Said;
    expect(outcomes['shell a path that is none of a model']).toMatch(/^reached 404 .*not_found/);
    expect(outcomes['shell as a web page']).toMatch(/^reached 403 .*Only the agent of this attempt/);
  });
});

describe.skipIf(noSandbox !== null || !perl)('the kernel refuses an agent in the sandbox', () => {
  const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  /** A system call with these arguments, in Perl: prints `0` or the error's number. */
  const call = (number: number, ...args: number[]): string =>
    `perl -e '$! = 0; my $r = syscall(${[number, ...args].join(', ')}); exit 0 if $r == 0 && $ARGV[0]; print $r == -1 ? $! + 0 : 0' ${number === CHECKED.clone[arch] ? 'child' : ''}`;

  test('each call on the list', async () => {
    const calls = REFUSED.filter((each) => each[arch] !== null);
    const attacks = Object.fromEntries(
      calls.map((each) => [`shell ${each.name}`, call(each[arch] ?? 0, 0, 0, 0, 0, 0)]),
    );
    const { outcomes } = await outcome(hostile(attacks, {}));
    expect(Object.keys(outcomes).length).toBe(calls.length);
    // EPERM, where without the filter it would be EFAULT, EINVAL, EBADF …
    expect(unlike(outcomes, 'reached 1')).toEqual({});
  });

  test('by their arguments: new namespaces, words put into a terminal, sockets of other families', async () => {
    const NEWUSER = 0x1000_0000;
    const { inside, outside } = await both(() => ({
      'shell unshare a user namespace': call(CHECKED.unshare[arch], NEWUSER),
      'shell clone a user namespace': call(CHECKED.clone[arch], NEWUSER | 17, 0, 0, 0, 0),
      'shell clone3': call(CHECKED.clone3[arch], 0, 0),
      'shell TIOCSTI': call(CHECKED.ioctl[arch], 0, 0x5412, 0),
      'shell TIOCLINUX': call(CHECKED.ioctl[arch], 0, 0x541c, 0),
      'shell a socket to the machine’s host': call(CHECKED.socket[arch], 40, 1, 0),
      'shell a Unix socket': call(CHECKED.socket[arch], 1, 1, 0),
      'shell unshare nothing new': call(CHECKED.unshare[arch], 0x200),
      'shell the tool of util-linux': 'unshare --user true && echo 0',
    }));
    expect(inside).toEqual({
      'shell unshare a user namespace': 'reached 1',
      'shell clone a user namespace': 'reached 1',
      'shell clone3': 'reached 38',
      'shell TIOCSTI': 'reached 1',
      'shell TIOCLINUX': 'reached 1',
      'shell a socket to the machine’s host': 'reached 97',
      'shell a Unix socket': 'reached 0',
      'shell unshare nothing new': 'reached 0',
      'shell the tool of util-linux': expect.stringMatching(/^refused 1: .*not permitted/) as unknown,
    });
    // ENOTTY, EINVAL and so on: looked at, not refused.
    for (const name of ['shell TIOCSTI', 'shell TIOCLINUX', 'shell clone3'])
      expect(outside[name]).not.toBe(inside[name]);
    if (isRoot) expect(outside['shell unshare a user namespace']).toBe('reached 0');
  });
});

describe.skipIf(noSandbox !== null)('what an agent in the sandbox leaves is data', () => {
  test('hooks, filters and programs in its repository’s configuration do not run; a link is taken as a link', async () => {
    const attempt = hostile(
      (made) => ({ 'git-traps': `touch ${join(dirname(made.directory), 'trapped')}`, 'symlink out': '/etc/shadow' }),
      {},
    );
    const { eof, result } = await outcome(attempt);
    expect([eof.reason, eof.message]).toEqual(['end_turn', null]);
    expect(result?.files.map(({ path, new_mode: mode }) => [path, mode])).toEqual([
      ['.gitattributes', '100644'],
      ['link', '120000'],
      ['new.txt', '100644'],
    ]);
    expect(existsSync(join(dirname(attempt.directory), 'trapped'))).toBe(false);
  });

  test('envelopes and last words that it prints are text', async () => {
    const { eof, events, of } = await outcome(hostile({ forge: '' }, {}));
    expect(eof.reason).toBe('no_changes');
    expect(events.filter(({ type }) => type === 'eof').length).toBe(1);
    expect(of<{ text?: string }>('unparsed').map(({ text }) => text?.includes('"seq":1'))).toEqual([true, true]);
  });
});
