import { watch, type FSWatcher } from 'node:fs';
import { open } from 'node:fs/promises';
import { createDecoder } from '../contract/envelope-codec.ts';
import { eof as eofSchema } from '../contract/attempt.ts';
import type { AttemptEnd, Batch } from './runtime.ts';

/** Follows one attempt's journal from its start to its `eof`, or until its recorder is gone. */

/** How often a journal is looked at although nothing said that it grew, and its recorder's life is checked (ms). */
const LOOK_MS = 1000;
const READ_BYTES = 256 * 1024;

export interface FollowOptions {
  attemptId: string;
  journal: string;
  /** What is stored already; read again for the hash over the whole, and not handed over. */
  lastSeq: number;
  isAlive(): boolean;
  onBatch(batch: Batch): Promise<void>;
  onTransport(message: string): void;
  signal: AbortSignal;
}

/**
 * Resolves with how the attempt ended; null when it was told to stop following. Everything that was read before the end was handed
 * over and committed.
 */
export async function followJournal(
  options: FollowOptions,
): Promise<Exclude<AttemptEnd, { kind: 'not_started' }> | null> {
  const decoder = createDecoder(options.attemptId, { lastSeq: options.lastSeq });
  const bell = createBell(options.journal, options.signal);
  const file = await open(options.journal, 'r');
  // One buffer for the follower's life: what the decoder keeps of it, it copies.
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  let position = 0;
  let wasAlive = true;
  try {
    while (!options.signal.aborted) {
      const { bytesRead } = await file.read(buffer, 0, READ_BYTES, position);
      if (bytesRead > 0) {
        position += bytesRead;
        const decoded = decoder.push(buffer.subarray(0, bytesRead));
        for (const problem of decoded.problems) options.onTransport(problem);
        if (decoded.envelopes.length > 0 || decoded.gaps.length > 0) await options.onBatch(decoded);
        const last = decoded.envelopes.at(-1);
        if (last?.type === 'eof') {
          const eof = eofSchema.parse(JSON.parse(last.data));
          return { kind: 'eof', eof, complete: decoder.matches(eof) };
        }
        continue;
      }
      // Its last words may have been written between our last read and its end: look once more after it was seen dead.
      if (!wasAlive) {
        const rest = decoder.finish();
        if (rest.gaps.length > 0) await options.onBatch(rest);
        return { kind: 'lost', message: 'The recorder is gone without a last word; what it had written was read.' };
      }
      wasAlive = options.isAlive();
      if (wasAlive) await bell.ring();
    }
    return null;
  } finally {
    bell.close();
    await file.close();
  }
}

/** Resolves `ring()` when the file changed since the last time, or after a second. */
function createBell(path: string, signal: AbortSignal): { ring(): Promise<void>; close(): void } {
  let rung = false;
  let wake: (() => void) | null = null;
  const strike = () => {
    rung = true;
    wake?.();
  };
  let watcher: FSWatcher | null = null;
  try {
    watcher = watch(path, { persistent: false }, strike);
    // Out of inotify watches: the timer alone still finds everything, a second late.
    watcher.on('error', () => watcher?.close());
  } catch {
    watcher = null;
  }
  signal.addEventListener('abort', strike);
  return {
    ring: () =>
      new Promise((resolve) => {
        if (rung) {
          rung = false;
          resolve();
          return;
        }
        const timer = setTimeout(strike, LOOK_MS);
        wake = () => {
          clearTimeout(timer);
          wake = null;
          rung = false;
          resolve();
        };
      }),
    close: () => {
      signal.removeEventListener('abort', strike);
      watcher?.close();
      wake?.();
    },
  };
}
