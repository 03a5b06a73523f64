import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { makePod } from '../../../test/support/pod.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { findWayApart, isTracingRestricted } from './apart.ts';
import { openLauncherLink } from './launcher-link.ts';
import { runLauncher } from './launcher.ts';

const way = await findWayApart();
if (way === null) process.stderr.write('SKIPPED: no Landlock of version 2 here (Linux 5.19), or no /usr/bin/perl\n');

/** Tries what a tracer can, on its launcher and on a child of its own, and what a domain must not forbid. */
const TRACER = `
const fs = require('node:fs');
const attempt = (work) => { try { work(); return 'yes'; } catch ({ code }) { return code; } };
const hold = (pid) => ({
  memory: attempt(() => fs.closeSync(fs.openSync('/proc/' + pid + '/mem', 'r+'))),
  connections: attempt(() => fs.readlinkSync('/proc/' + pid + '/fd/0')),
});
const child = require('node:child_process').spawn('sleep', ['60']);
fs.mkdirSync('a'); fs.mkdirSync('b'); fs.writeFileSync('a/x', 'x');
const files = attempt(() => { fs.renameSync('a/x', 'b/x'); fs.linkSync('b/x', 'a/y'); fs.symlinkSync('x', 'b/z'); });
console.log(JSON.stringify({ launcher: hold(process.ppid), child: hold(child.pid), files }));
child.kill();
`;

/** A launcher in this process, and an agent that it has started. */
async function start(apart: typeof way, command: string[]) {
  const cwd = tempDir();
  const socket = join(cwd, 's');
  const link = await openLauncherLink({
    ...{ socket, onTerminating: () => undefined, onMemory: () => undefined },
    containerEnded: new Promise(() => undefined),
  });
  const ended = runLauncher({
    ...{ socket, cgroup: '/nonexistent', env: { PATH: process.env['PATH'] }, node: process.execPath, alone: false },
    ...{ apart: Promise.resolve(apart), isTracingRestricted: false },
    ...{ terminating: new AbortController().signal, say: () => undefined },
  });
  onTestFinished(async () => {
    await link.dismiss(1, 5000);
    await ended;
  });
  await link.ready;
  return link.start(command, { cwd, env: { AIDEATOR_ATTEMPT: `apart-${process.pid}` } });
}

const tracer = ['{node}', '-e', TRACER];
const everything = { memory: 'yes', connections: 'yes' };

test.skipIf(way === null)('an agent cannot lay hands on its launcher, and can do everything else', async () => {
  const agent = await start(way, tracer);
  expect(agent.warning).toBeUndefined();
  expect(JSON.parse(await text(agent.stdout))).toEqual({
    launcher: { memory: 'EACCES', connections: 'EACCES' },
    child: everything,
    files: 'yes',
  });
  expect(await agent.exited).toEqual({ code: 0, signal: null });
});

test('without that it can, and this is said', async () => {
  const agent = await start(null, tracer);
  expect(agent.warning).toContain('kernel.yama.ptrace_scope is 0');
  const { child } = JSON.parse(await text(agent.stdout)) as { child: object };
  expect(child).toEqual(everything);
});

test.skipIf(way === null)(
  'a program that is not there is missing, and one whose interpreter is not says so',
  async () => {
    await expect(start(way, ['no-such-program'])).rejects.toThrow('was not found on PATH');
    await expect(start(way, ['/no/such/program'])).rejects.toThrow('does not exist');
    const script = join(tempDir(), 'script');
    writeFileSync(script, '#!/no/such/interpreter\n', { mode: 0o755 });
    const agent = await start(way, [script]);
    expect(await text(agent.stderr)).toBe(`${script}: No such file or directory\n`);
    expect(await agent.exited).toEqual({ code: 127, signal: null });
  },
);

test('in a pod it is in the journal, where it is not so', async () => {
  const pod = await makePod({ agent: ['nothing'] });
  const { launcher, recorder } = pod.run();
  await launcher.ended;
  await recorder.ended;
  expect(pod.read().notes.includes('agent_not_apart')).toBe(way === null && !isTracingRestricted());
});
