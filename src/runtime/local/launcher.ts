import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { attemptPaths } from '../../agent/claim.ts';
import { startTimeOf } from '../../agent/process-identity.ts';
import { AppError } from '../../errors.ts';

/** A process, and no other that gets its number later. */
export interface Process {
  pid: number;
  /** When it was started, as the kernel tells it. */
  startTime: string;
}

export interface LauncherOptions {
  /** The recorder's file and the Node that runs it. */
  recorder: string;
  node: string;
  /** All of its environment. */
  env: Record<string, string>;
  /** How long after a start the next recorder is made ready (ms): not while the attempt itself is starting. */
  spareAfterMs?: number;
}

/**
 * Starts recorders. One is kept ready with its modules loaded, because that takes longer than all the rest of a start; it waits
 * for its attempt on its standard input, and ends when that is closed.
 */
export interface Launcher {
  /** Errors: attempt_start_failed. */
  launch(directory: string): Promise<Process>;
  close(): void;
}

export function createLauncher(options: LauncherOptions): Launcher {
  let spare: { child: ChildProcess; process: Process } | null = null;
  let closed = false;
  let timer: NodeJS.Timeout | null = null;

  function prepare(): void {
    if (closed || spare !== null || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      // Where it cannot be started, the next attempt will say so.
      start(options, ['--spare'], ['pipe', 'ignore', 'ignore']).then(
        (made) => {
          if (closed) made.child.stdin?.end();
          else spare = made;
        },
        () => undefined,
      );
    }, options.spareAfterMs ?? 500);
    timer.unref();
  }

  prepare();
  return {
    launch: async (directory) => {
      const ready = spare;
      spare = null;
      try {
        if (ready !== null && startTimeOf(ready.process.pid) === ready.process.startTime) {
          ready.child.stdin?.end(`${directory}\n`);
          return ready.process;
        }
        const log = openSync(attemptPaths(directory).recorderLog, 'a', 0o600);
        try {
          return (await start(options, [directory], ['ignore', log, log])).process;
        } finally {
          closeSync(log);
        }
      } finally {
        prepare();
      }
    },
    close: () => {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      spare?.child.stdin?.end();
    },
  };
}

/** Detached: it leads a session of its own and outlives us. */
async function start(
  { node, recorder, env }: LauncherOptions,
  args: string[],
  stdio: ('pipe' | 'ignore' | number)[],
): Promise<{ child: ChildProcess; process: Process }> {
  try {
    const child = spawn(node, [recorder, ...args], { detached: true, env, stdio });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    // It may end before it reads: what that means is found out by whoever follows the journal.
    child.stdin?.on('error', () => undefined);
    child.unref();
    const pid = child.pid ?? 0;
    return { child, process: { pid, startTime: startTimeOf(pid) ?? '' } };
  } catch (error) {
    throw new AppError(
      'attempt_start_failed',
      `The recorder could not be started: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}
