import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../../test/support/temp.ts';
import { ownsItsProcesses } from './everything.ts';
import { openLauncherLink, type LauncherLink } from './launcher-link.ts';
import { runLauncher } from './launcher.ts';

const quiet = { onTerminating: () => undefined, onMemory: () => undefined };
const command = [process.execPath, '-e', 'process.stdin.pipe(process.stdout)'];

/** A launcher in this process. It must never take what runs here for the agent's. */
function launch(socket: string, more: { patienceMs?: number; terminating?: AbortSignal } = {}) {
  const said: string[] = [];
  const ended = runLauncher({
    socket,
    cgroup: '/nonexistent',
    env: { PATH: process.env['PATH'] },
    node: process.execPath,
    alone: false,
    apart: Promise.resolve(null),
    isTracingRestricted: false,
    terminating: new AbortController().signal,
    say: (words) => said.push(words),
    returnMs: 100,
    ...more,
  });
  return { ended, said };
}

test('without a recorder it gives up, and says so; told to end meanwhile it ends', async () => {
  const socket = join(tempDir(), 's');
  const { ended, said } = launch(socket, { patienceMs: 100 });
  expect(await ended).toBe(1);
  expect(said).toEqual([`No recorder took a connection on ${socket} for 0 s.`]);
  const stopping = new AbortController();
  const second = launch(socket, { terminating: stopping.signal });
  stopping.abort();
  expect(await second.ended).toBe(1);
});

test('this process does not own the machine', () => {
  expect(ownsItsProcesses(process.argv[1] ?? 'node')).toBe(false);
  expect(ownsItsProcesses('')).toBe(false);
});

test('the streams are the agent’s own, the socket is closed to anybody else, the exit code is what it is dismissed with', async () => {
  const cwd = tempDir();
  const socket = join(cwd, 's');
  const link = await openLauncherLink({ socket, containerEnded: new Promise(() => undefined), ...quiet });
  const { ended } = launch(socket);
  await link.ready;
  const [refused] = (await once(connect(socket), 'error')) as [NodeJS.ErrnoException];
  expect(refused.code).toMatch(/ENOENT|ECONNREFUSED/);
  const agent = await link.start(command, { cwd, env: { AIDEATOR_ATTEMPT: 'of-this-test' } });
  agent.stdin.end('to and fro\n');
  let text = '';
  for await (const chunk of agent.stdout) text += String(chunk);
  expect(text).toBe('to and fro\n');
  expect(await agent.exited).toEqual({ code: 0, signal: null });
  expect(await link.kill()).toBe(0);
  await expect(link.start(command, { cwd, env: {} })).rejects.toThrow('has run its agent already');
  await link.dismiss(0, 5000);
  expect(await ended).toBe(0);
});

/** Somebody who has taken the launcher's place. */
async function impostor(link: LauncherLink, socket: string): Promise<Socket> {
  const sockets: Socket[] = [];
  for (const hello of [
    { channel: 'control', spent: false, memory_limit: null },
    ...['stdin', 'stdout', 'stderr'].map((channel) => ({ channel })),
  ]) {
    const each = connect(socket);
    each.on('error', () => undefined);
    each.write(`${JSON.stringify(hello)}\n`);
    await once(each, 'connect');
    sockets.push(each);
  }
  await link.ready;
  return sockets[0]!;
}

test('a launcher that says what is no message, or nothing, is not believed: nobody knows what runs', async () => {
  for (const answer of ['{"type":"exit","code":"0"}\n', 'x'.repeat(5 * 1024 * 1024), '']) {
    const socket = join(tempDir(), 's');
    const never = new Promise(() => undefined);
    const link = await openLauncherLink({ socket, containerEnded: never, ...quiet, answerMs: 200 });
    const control = await impostor(link, socket);
    const starting = link.start(command, { cwd: '/', env: {} });
    control.write('{"type":"started"}\n');
    const agent = await starting;
    control.write(answer);
    expect(await link.kill()).toBeNull();
    expect(await agent.exited).toMatchObject({ code: null, signal: null, known: { reason: 'agent_exit' } });
  }
});

test('what knocks without a hello is sent away, and the launcher still gets in', async () => {
  const cwd = tempDir();
  const socket = join(cwd, 's');
  const link = await openLauncherLink({ socket, containerEnded: new Promise(() => undefined), ...quiet });
  const stranger = connect(socket);
  stranger.write('GET / HTTP/1.1\r\n\r\n');
  await once(stranger, 'close');
  const { ended } = launch(socket);
  await link.ready;
  await link.dismiss(1, 5000);
  expect(await ended).toBe(1);
});
