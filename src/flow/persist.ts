import { setTimeout as wait } from 'node:timers/promises';
import { AppError, type ErrorCode } from '../errors.ts';

/** States of the machine that pass by themselves. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['disk_full', 'data_dir_locked', 'data_dir_readonly']);

export interface PersistOptions {
  /** Ends the waiting: the server closes. Rejects with `shutting_down` then. */
  signal: AbortSignal;
  /** Told of each failure, before the wait. */
  onFailure(error: unknown): void;
  /** How often a failure that does not pass by itself is tried again; Infinity where giving up is no answer. */
  tries: number;
  /** The first wait; each is twice the last, up to twenty times the first (ms). */
  firstMs?: number;
}

/**
 * Does what must be stored, again and again while the disk is full or the database is held: the journal keeps what waits, and an
 * attempt must not die of its server's disk. Rejects with the last error where it is no such state and the tries are used up.
 */
export async function persist<T>(options: PersistOptions, work: (made: number) => Promise<T>): Promise<T> {
  const firstMs = options.firstMs ?? 250;
  for (let made = 1; ; made += 1) {
    try {
      return await work(made);
    } catch (error) {
      const passes = error instanceof AppError && PASSING.has(error.code);
      if (!passes && made >= options.tries) throw error;
      options.onFailure(error);
      const ms = Math.min(firstMs * 2 ** (made - 1), firstMs * 20);
      await wait(ms, undefined, { signal: options.signal }).catch(() => {
        throw new AppError('shutting_down', 'The server is shutting down.', { cause: error });
      });
    }
  }
}
