import type { Duplex } from 'node:stream';

/** What went through, in bytes. */
export interface Spliced {
  fromFirst: number;
  fromSecond: number;
}

/**
 * Makes one connection of two: bytes both ways, as fast as the slower takes them; an end on one side is an end on the other, and
 * the other direction goes on; when one breaks, so does the other. Nothing for `idleMs` ends both.
 *
 * @returns when both are closed
 */
export function splice(first: Duplex, second: Duplex, idleMs: number): Promise<Spliced> {
  const counts: Spliced = { fromFirst: 0, fromSecond: 0 };
  const idle = setTimeout(() => {
    first.destroy();
    second.destroy();
  }, idleMs).unref();
  const join = (from: Duplex, to: Duplex, count: (bytes: number) => void): Promise<void> => {
    from.on('error', () => undefined);
    from.on('data', (chunk: Buffer) => {
      count(chunk.length);
      idle.refresh();
    });
    from.pipe(to);
    return new Promise((resolve) => {
      const closed = (): void => {
        // Where both had said their last word, the other has only to send what it still holds.
        if (!from.readableEnded || !to.readableEnded) to.destroy();
        resolve();
      };
      if (from.closed) closed();
      else from.once('close', closed);
    });
  };
  return Promise.all([
    join(first, second, (bytes) => (counts.fromFirst += bytes)),
    join(second, first, (bytes) => (counts.fromSecond += bytes)),
  ]).then(() => {
    clearTimeout(idle);
    return counts;
  });
}
