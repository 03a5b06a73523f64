import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { until } from '../../test/support/until.ts';
import {
  ATTEMPT_VARIABLE,
  findStragglers,
  killStragglers,
  signalGroup,
  startTimeByPs,
  startTimeOf,
} from './process-identity.ts';

test('a process is named by its pid and its start; one that is over has none', async () => {
  const mine = startTimeOf(process.pid);
  expect(mine).toMatch(/\S/);
  expect(startTimeOf(process.pid)).toBe(mine);
  const child = spawn('sleep', ['60'], { stdio: 'ignore', detached: true });
  const pid = child.pid!;
  expect(startTimeOf(pid)).not.toBeNull();
  expect(startTimeOf(pid)).not.toBe(mine);
  const gone = once(child, 'exit');
  signalGroup(pid, 'SIGKILL');
  await gone;
  expect(startTimeOf(pid)).toBeNull();
  // A group that is gone is no error.
  signalGroup(pid, 'SIGKILL');
});

test('there are no processes of such numbers, and no group that would be everybody', () => {
  for (const pid of [0, -1, 1.5, NaN, 2 ** 30]) expect(startTimeOf(pid)).toBeNull();
  for (const leader of [undefined, 0, 1]) expect(() => signalGroup(leader, 'SIGKILL')).not.toThrow();
});

test('where there is no /proc, ps says it', () => {
  const said = startTimeByPs(process.pid);
  // A machine without ps has no word for it either.
  if (said !== null) expect(new Date(said).getTime()).toBeLessThanOrEqual(Date.now());
  expect(startTimeByPs(2 ** 30)).toBeNull();
});

test.runIf(process.platform === 'linux')(
  'what belongs to an attempt is found wherever it went, and nothing else',
  async () => {
    const attempt = randomUUID();
    const env = { PATH: process.env['PATH'] ?? '', [ATTEMPT_VARIABLE]: attempt };
    const start = (value: Record<string, string>) =>
      spawn('sleep', ['60'], { stdio: 'ignore', detached: true, env: value });
    const own = [start(env), start({ ...env, Z: 'behind' })];
    const other = start({ ...env, [ATTEMPT_VARIABLE]: `${attempt}0` });
    await until(() => findStragglers(attempt).length === 2);
    expect(await killStragglers(attempt)).toBe(2);
    expect(findStragglers(attempt)).toEqual([]);
    expect(own.map(({ pid }) => startTimeOf(pid!))).toEqual([null, null]);
    expect(startTimeOf(other.pid!)).not.toBeNull();
    signalGroup(other.pid, 'SIGKILL');
    expect(await killStragglers(attempt)).toBe(0);
  },
);
