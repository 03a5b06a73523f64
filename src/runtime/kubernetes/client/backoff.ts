/**
 * How long to wait before the next try: the steps in turn, the last one for ever, each but 0 between half and all of it, so that
 * many that failed together do not come back together.
 */
export interface Backoff {
  /** Milliseconds until the next try; counts it. */
  next(): number;
  /** It works again: the next failure begins at the first step. */
  reset(): void;
}

export function createBackoff(stepsMs: readonly number[], random: () => number = Math.random): Backoff {
  let step = 0;
  return {
    next: () => {
      const full = stepsMs[Math.min(step, stepsMs.length - 1)] ?? 0;
      step += 1;
      return full * (0.5 + random() / 2);
    },
    reset: () => {
      step = 0;
    },
  };
}

/** Between the two, by chance. */
export function between(range: readonly [number, number], random: () => number): number {
  return range[0] + (range[1] - range[0]) * random();
}

/** Resolves after the time, or as soon as the signal is aborted; never rejects, and leaves no timer or listener behind. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}
