import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { prepareAttempt, type PreparedAttempt } from '../../test/support/recorded.ts';
import { until } from '../../test/support/until.ts';
import { readStop } from './claim.ts';
import { findStragglers, signalGroup, startTimeOf } from './process-identity.ts';

/** As the runtime starts it: detached, with an environment of its own. */
function start(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'recorder-main.ts'), ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] },
  });
  onTestFinished(() => signalGroup(child.pid, 'SIGKILL'));
  return child;
}

const ended = async (child: ChildProcess): Promise<number> => ((await once(child, 'exit')) as [number])[0];
const working = (attempt: PreparedAttempt): Promise<void> =>
  until(() => existsSync(join(attempt.directory, 'workspace', 'half.txt')));

test('an attempt is taken once, and run to its last word', async () => {
  const attempt = prepareAttempt({ agent: ['linger'] });
  const first = start(attempt.directory);
  await working(attempt);
  const claim = JSON.parse(readFileSync(join(attempt.directory, 'claim.json'), 'utf8')) as {
    pid: number;
    start_time: string;
  };
  expect(claim).toMatchObject({ pid: first.pid, start_time: startTimeOf(first.pid!) });

  // A second recorder for it ends at once, without a word.
  const before = attempt.spec.attempt_id;
  expect(await ended(start(attempt.directory))).toBe(0);
  expect(findStragglers(before).length).toBe(1);

  // Its terminal and its reader may go: it stays.
  process.kill(first.pid!, 'SIGHUP');
  first.stdout?.destroy();
  first.stderr?.destroy();
  writeFileSync(join(attempt.directory, 'stop.json'), '{"reason":"run_timeout"}');
  process.kill(first.pid!, 'SIGTERM');
  process.kill(first.pid!, 'SIGTERM');
  expect(await ended(first)).toBe(0);
  const { eof, said, result } = attempt.read();
  expect(eof.reason).toBe('run_timeout');
  expect(said).toContain('waiting');
  expect(result?.files.map(({ path }) => path)).toEqual(['half.txt']);
  expect(findStragglers(before)).toEqual([]);
});

test('a stop without a reason is a cancel; one that came before the start is seen', async () => {
  const attempt = prepareAttempt({ agent: ['linger'] });
  const recorder = start(attempt.directory);
  await working(attempt);
  process.kill(recorder.pid!, 'SIGTERM');
  expect(await ended(recorder)).toBe(0);
  expect(attempt.read().eof.reason).toBe('cancelled');

  const early = prepareAttempt({ agent: ['linger'] });
  writeFileSync(join(early.directory, 'stop.json'), '{"reason":"superseded"}');
  expect(await ended(start(early.directory))).toBe(0);
  expect(early.read().eof.reason).toBe('superseded');
});

test('what is no attempt is refused', async () => {
  expect(await ended(start())).toBe(2);
  const attempt = prepareAttempt();
  writeFileSync(join(attempt.directory, 'spec.json'), '{"v":2}');
  const child = start(attempt.directory);
  const said: string[] = [];
  child.stderr?.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  expect(await ended(child)).toBe(1);
  expect(said.join('')).toContain('ZodError');
});

test('why it is to stop is read from what was written, whatever that is', async () => {
  const { directory } = prepareAttempt();
  expect(await readStop(directory)).toBeNull();
  for (const [text, reason] of [
    ['{"reason":"timeout"}', 'timeout'],
    ['{"reason":"nonsense"}', 'cancelled'],
    ['{', 'cancelled'],
    ['', 'cancelled'],
  ] as const) {
    writeFileSync(join(directory, 'stop.json'), text);
    expect(await readStop(directory)).toBe(reason);
  }
});
