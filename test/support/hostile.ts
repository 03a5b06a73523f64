import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type ListenOptions } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { SandboxLimits, SandboxSpec } from '../../src/contract/sandbox.ts';
import { prepareAttempt, type JournalRead, type PreparedAttempt } from './recorded.ts';

/** Attempts of the hostile agent, in a sandbox or without one. */

export const HOSTILE = join(import.meta.dirname, 'hostile-agent.ts');
export const quick = { cancelMs: 2000, terminateMs: 300, leaveMs: 2000, diskMs: 50, heartbeatMs: 5000 };
export const MIB = 1024 * 1024;

/** What became of each attack, by its name. */
export type Said = Record<string, string>;

/** An attempt of the hostile agent; attacks may depend on where it lies. */
export function hostile(
  attacks: Said | ((attempt: PreparedAttempt) => Said),
  sandbox?: Partial<SandboxSpec>,
): PreparedAttempt {
  const attempt = prepareAttempt(sandbox === undefined ? {} : { sandbox });
  const wanted = typeof attacks === 'function' ? attacks(attempt) : attacks;
  attempt.spec.agent.command = ['{node}', HOSTILE, JSON.stringify(wanted)];
  return attempt;
}

export async function outcome(attempt: PreparedAttempt): Promise<JournalRead & { outcomes: Said }> {
  const read = await attempt.run({ graces: quick });
  return { ...read, outcomes: JSON.parse(read.said.at(-1) ?? '{}') as Said };
}

/** Makes the same attacks in a sandbox and without one. */
export async function both(attacks: (attempt: PreparedAttempt) => Said): Promise<{ inside: Said; outside: Said }> {
  const [inside, outside] = [await outcome(hostile(attacks, {})), await outcome(hostile(attacks))];
  for (const { eof } of [inside, outside]) expect([eof.reason, eof.message]).toEqual(NOTHING_CHANGED);
  return { inside: inside.outcomes, outside: outside.outcomes };
}
export const NOTHING_CHANGED = ['no_changes', 'The agent said it was done, and nothing was changed.'];

export async function listener(options: ListenOptions): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => undefined).end());
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(options, resolve));
  onTestFinished(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Processes of this machine, those in sandboxes as well, whose command line has these words. */
export function running(words: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').includes(words);
      } catch {
        return false;
      }
    });
}

/** Those that did not end so. */
export const unlike = (said: Said, start: string): Said =>
  Object.fromEntries(Object.entries(said).filter(([, what]) => !what.startsWith(start)));

export const LIMITS: SandboxLimits = {
  max_memory_bytes: 1024 * MIB,
  max_processes: 512,
  max_open_files: 4096,
  max_file_bytes: 64 * MIB,
  max_tmp_bytes: 32 * MIB,
};

/** Control groups of an attempt that are left. */
export function groupsOf(attempt: PreparedAttempt): string[] {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  return lines
    .map((line) => {
      const [, controllers = '', path = ''] = line.split(':');
      return join('/sys/fs/cgroup', controllers, path, `aideator-${attempt.spec.attempt_id}`);
    })
    .filter((path) => existsSync(path));
}
