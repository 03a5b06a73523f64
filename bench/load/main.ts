import { serve } from '../harness/serve.ts';
import { Connection } from './connection.ts';
import { Mirror } from './mirror.ts';
import { Readers, type ReadersOptions } from './readers.ts';
import { submitAndWatch, type Submission } from './submission.ts';

/** The load: readers and submitters, in a process and on a core of their own. */
let readers: Readers | null = null;
let mirror = new Mirror();
/** What replays of a stream are compared with. */
const replayed = new Map<string, Mirror>();
let usedBefore = process.cpuUsage();
let startedAt = performance.now();

/** What the readers got since `open` (latencies: since `time`). */
function report() {
  const { user, system } = process.cpuUsage(usedBefore);
  return {
    deliveries: mirror.deliveries,
    violations: [...mirror.violations],
    latencies: mirror.latencies.summary(),
    /** Milliseconds between the marks that were set and the first of them. */
    marks: [...mirror.marks].map(([seq, at]) => ({ seq, at })),
    /** Share of a core that the load itself took: near 1 it was the load that was measured. */
    busy: (user + system) / 1000 / (performance.now() - startedAt),
  };
}

const handlers = {
  /** Connects readers to a stream from its first event. */
  open: async (options: ReadersOptions & { marks?: number[] }) => {
    readers?.close();
    mirror = new Mirror();
    for (const seq of options.marks ?? []) mirror.marks.set(seq, null);
    readers = new Readers(options, mirror);
    await readers.open();
    usedBefore = process.cpuUsage();
    startedAt = performance.now();
  },
  /** From now on the time of every delivery is taken; what was taken before is forgotten. */
  time: () => {
    mirror.latencies.reset();
    mirror.isTiming = true;
    usedBefore = process.cpuUsage();
    startedAt = performance.now();
  },
  reached: async ({ seq, timeoutMs }: { seq: number; timeoutMs: number }) => {
    await readers?.reached(seq, timeoutMs);
    return report();
  },
  wake: (options: { cut: boolean }) => readers?.wake(options),
  /**
   * One reader from connecting to having this seq: how long that takes (ms). The first of a stream is checked event by event, all
   * later ones against it: the check must not take longer than the replay.
   */
  replay: async ({ url, path, seq, timeoutMs }: { url: string; path: string; seq: number; timeoutMs: number }) => {
    let same = replayed.get(url + path);
    if (same === undefined) {
      same = new Mirror();
      // It never reads on: so the stream's begin is kept for those that come later.
      same.add();
      replayed.set(url + path, same);
    }
    const known = same.violations.length;
    const start = performance.now();
    const reader = new Readers({ url, path, count: 1 }, same);
    await reader.open();
    await reader.reached(seq, timeoutMs);
    const ms = performance.now() - start;
    reader.close();
    return { ms, violations: same.violations.slice(known) };
  },
  close: () => {
    readers?.close();
    readers = null;
  },
  submit: (submission: Submission) => submitAndWatch(submission),
  /** A POST that streams: the time to the first byte of its body (ms). */
  firstByte: async ({ url, path }: { url: string; path: string }) => {
    const start = performance.now();
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const connection = new Connection({
      url,
      path,
      method: 'POST',
      onBody: () => resolve(performance.now() - start),
      onEnd: (error) => reject(error ?? new Error('it ended without a byte')),
    });
    return promise.finally(() => connection.close());
  },
};
export type Load = typeof handlers;

serve(handlers, () => handlers.close());
