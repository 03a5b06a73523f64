import type { Writable } from 'node:stream';

/** The live path: the journal's lines on standard output, which is the pod's log. */
export interface Printer {
  /** Whole lines, in one write. Never waits: what does not go out is left out, and uploaded instead. */
  print(batch: Buffer): void;
  /** Bytes left out so far. */
  readonly leftOut: number;
}

/** More than this waiting for a reader, and nothing is added. Bytes. */
const HIGH_WATER = 1024 * 1024;

/** @param stream one whose writes do not block: a pipe or socket, as Node has them on Linux */
export function createPrinter(stream: Writable): Printer {
  let leftOut = 0;
  let broken = false;
  stream.on('error', () => {
    broken = true;
  });
  return {
    print: (batch) => {
      if (broken || stream.destroyed || stream.writableLength + batch.length > 2 * HIGH_WATER) leftOut += batch.length;
      else stream.write(batch);
    },
    get leftOut() {
      return leftOut;
    },
  };
}
