import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { signalGroup } from './process-identity.ts';

export interface Ended {
  /** Null where a signal ended it. */
  code: number | null;
  said: string;
}

export interface RunOptions {
  cwd: string;
  env: Record<string, string | undefined>;
  signal: AbortSignal;
  timeoutMs: number;
}

/**
 * Runs a program in a process group of its own, so that nothing of it goes on after it was stopped.
 *
 * @param filter what a sandbox's maker reads from its descriptor 5, see `sandbox/sandboxed-process.ts`
 */
export function runProgram(
  program: string,
  args: readonly string[],
  options: RunOptions,
  filter?: Buffer,
): Promise<Ended> {
  const stop = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
  return new Promise((resolve, reject) => {
    if (stop.aborted) {
      resolve({ code: null, said: '' });
      return;
    }
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', ...(filter === undefined ? [] : (['ignore', 'pipe', 'pipe'] as const))],
    });
    // What each is follows from `stdio` above; Node types only the first three so.
    const [, stdout, stderr, , told, filtered] = child.stdio as unknown as [
      ...[null, Readable, Readable, null],
      ...[Readable | undefined, Writable | undefined],
    ];
    for (const each of [told, filtered]) each?.on('error', () => undefined);
    told?.resume();
    filtered?.end(filter);
    let said = '';
    const note = (chunk: Buffer): void => {
      said = (said + chunk.toString('utf8')).slice(-16_384);
    };
    stdout.on('data', note);
    stderr.on('data', note);
    const kill = (): void => signalGroup(child.pid, 'SIGKILL');
    stop.addEventListener('abort', kill, { once: true });
    child.once('error', reject);
    child.once('close', (code) => {
      stop.removeEventListener('abort', kill);
      resolve({ code, said });
    });
  });
}
