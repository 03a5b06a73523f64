/** Runs so many things at once, the others in the order they came. One whose signal is aborted waits no longer, and is not run. */
export function createTurns(atOnce: number) {
  let running = 0;
  const waiting = new Set<() => void>();

  function next(): void {
    running -= 1;
    const [first] = waiting;
    first?.();
  }

  return async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    signal.throwIfAborted();
    if (running >= atOnce) {
      await new Promise<void>((resolve, reject) => {
        const go = (): void => {
          waiting.delete(go);
          signal.removeEventListener('abort', leave);
          running += 1;
          resolve();
        };
        const leave = (): void => {
          waiting.delete(go);
          reject(signal.reason instanceof Error ? signal.reason : new Error('It was waited for no longer.'));
        };
        waiting.add(go);
        signal.addEventListener('abort', leave, { once: true });
      });
    } else {
      running += 1;
    }
    try {
      return await work();
    } finally {
      next();
    }
  };
}
