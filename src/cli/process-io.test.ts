import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { processIo } from './process-io.ts';

const main = join(import.meta.dirname, '..', 'main.ts');
const given = { version: '1', program: ['node'], startHouse: () => Promise.reject(new Error('not here')) };

test('this process: its signals, its end, its arguments', async () => {
  const io = processIo(given);
  const seen: string[] = [];
  const off = io.onSignal((signal) => seen.push(signal));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.emit(signal, signal);
  off();
  expect(seen).toEqual(['interrupt', 'terminate', 'terminate']);
  expect(process.listenerCount('SIGHUP')).toBe(0);
  const count = process.listenerCount('exit');
  const offExit = io.onExit(() => undefined);
  expect(process.listenerCount('exit')).toBe(count + 1);
  offExit();
  expect(process.listenerCount('exit')).toBe(count);
  expect(io.rawArguments()?.includes('node')).toBe(true);
  expect([io.cwd, io.stdout.columns > 0, io.stderr.rows > 0]).toEqual([process.cwd(), true, true]);
  expect(Math.abs(io.now() - Date.now())).toBeLessThan(60_000);
  await io.flushed();
});

test('the program itself: version, exit code, standard input as bytes', () => {
  const run = (args: string[], input?: Buffer): string =>
    execFileSync(process.execPath, [main, ...args], { encoding: 'utf8', input, stdio: 'pipe' });
  expect(run(['--version'])).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(() => run(['run', '--prompt-file', '-'], Buffer.from([0xff]))).toThrow(/Standard input is not UTF-8/);
});

test('a reader that has seen enough is no error', async () => {
  const child = spawn(process.execPath, [main, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  const [code] = (await once(child, 'exit')) as [number];
  expect(code).toBe(0);
});
