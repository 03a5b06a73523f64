import { setTimeout as wait } from 'node:timers/promises';
import { failureOf, type ModelFailure } from './failure.ts';

export interface RetryOptions {
  /** The first wait (ms); each is twice the last. */
  firstMs: number;
  signal: AbortSignal;
  /** Told before each wait. */
  onRetry(failure: ModelFailure, waitMs: number, next: number, most: number): void;
}

const TRIES = 6;
/** What a provider may ask to wait in all (ms). */
const MOST_ASKED_MS = 60_000;

/** Repeats what failed for a reason that may pass. Rejects with the ModelFailure of the last try, or the signal's reason. */
export async function withRetries<T>(options: RetryOptions, work: () => Promise<T>): Promise<T> {
  let asked = 0;
  for (let made = 1; ; made += 1) {
    try {
      return await work();
    } catch (error) {
      options.signal.throwIfAborted();
      const failure = failureOf(error);
      if (failure.kind !== 'transient' || made === TRIES) throw failure;
      const growing = options.firstMs * 2 ** (made - 1);
      const waitMs = failure.retryAfterMs ?? growing;
      if (failure.retryAfterMs !== null) asked += failure.retryAfterMs;
      if (asked > MOST_ASKED_MS) throw failure;
      options.onRetry(failure, waitMs, made + 1, TRIES);
      await wait(waitMs, undefined, { signal: options.signal });
    }
  }
}
