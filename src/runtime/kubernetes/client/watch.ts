import { createLineSplitter } from '../../../agent/line-splitter.ts';
import { answeredWith, askedWait } from './api-error.ts';
import { listWhole, type Collections, type KubernetesApi } from './api.ts';
import { between, createBackoff, pause } from './backoff.ts';
import { createObjectStore, type ChangeType } from './object-store.ts';
import type { Status } from './objects.ts';

/**
 * A picture of one collection that is kept up to date whatever happens: list, watch from there, resume where the stream ends, list
 * again where that is not possible and every ten minutes in any case. What was missed is found by comparing: a change is told once
 * the picture has it, and the picture ends up as the cluster is.
 */
export interface ResourceWatch<T> {
  /** Whether there is a picture without a known hole. False until the first list, and while one is owed. */
  readonly synced: boolean;
  /** When the API server was last heard (ms since the epoch); null = never. The picture may be this old. */
  readonly lastContactAt: number | null;
  get(name: string): T | undefined;
  list(): T[];
  /** Resolves as soon as {@link synced}; rejects with the signal's reason, or when the watch is closed before. */
  whenSynced(signal?: AbortSignal): Promise<void>;
  /** Lists again now, e.g. because something is missing that should be there. */
  resync(): void;
  close(): Promise<void>;
}

export interface WatchOptions<K extends keyof Collections> {
  api: Pick<KubernetesApi, 'page' | 'changes'>;
  collection: K;
  labelSelector: string;
  /** What changed, as it is now; of a deletion what was last known. In order per object; the picture has it already. */
  onChange(type: ChangeType, object: Collections[K]): void;
  /** What is wrong right now, in words; the watch goes on by itself. */
  onProblem(message: string): void;
  timings?: Partial<WatchTimings>;
  random?: () => number;
}

export interface WatchTimings {
  /** How long the server is asked to keep one watch: between these (s). */
  timeoutSeconds: readonly [number, number];
  /** Silence beyond that time after which the connection counts as dead (ms). */
  silenceMs: number;
  /** Between lists although nothing is wrong (ms). */
  relistMs: readonly [number, number];
  backoffMs: readonly number[];
  /** A watch that lasted so long was a good one, even if nothing happened (ms). */
  fruitfulMs: number;
  /** Two watches are at least this far apart, however well they go (ms). */
  apartMs: number;
  /** No further try of a list is begun after this long (ms). */
  listBudgetMs: number;
  /** Objects in one page. */
  pageLimit: number;
}

const TIMINGS: WatchTimings = {
  timeoutSeconds: [240, 300],
  silenceMs: 30_000,
  relistMs: [540_000, 660_000],
  backoffMs: [0, 500, 1000, 2000, 4000, 8000, 15_000],
  fruitfulMs: 10_000,
  apartMs: 250,
  listBudgetMs: 0,
  pageLimit: 500,
};

/** The largest object etcd takes is 1.5 MiB, and JSON may be longer than what is stored. Bytes. */
const OBJECT_BYTES = 16 * 1024 * 1024;

export function watchCollection<K extends keyof Collections>(options: WatchOptions<K>): ResourceWatch<Collections[K]> {
  type T = Collections[K];
  const { api, collection, labelSelector, random = Math.random } = options;
  const timings = { ...TIMINGS, ...options.timings };
  const closing = new AbortController();
  const backoff = createBackoff(timings.backoffMs, random);
  const store = createObjectStore<T>((type, object) => {
    try {
      options.onChange(type, object);
    } catch (error) {
      options.onProblem(`a listener failed: ${(error as Error).message}`);
    }
  });
  let synced = false;
  let lastContactAt: number | null = null;
  /** Where the next watch begins. */
  let position = '';
  let isListOwed = true;
  let relistAt = 0;
  /** Ends the watch or the pause of now. */
  let interrupt = new AbortController();
  const waiting = new Set<() => void>();

  function lose(why: string | null): void {
    isListOwed = true;
    synced = false;
    if (why !== null) options.onProblem(why);
  }

  async function list(): Promise<void> {
    isListOwed = false;
    const call = { signal: closing.signal, budgetMs: timings.listBudgetMs, limit: timings.pageLimit };
    const { items, resourceVersion } = await listWhole(api, collection, labelSelector, call).catch((error: unknown) => {
      isListOwed = true;
      throw error;
    });
    lastContactAt = Date.now();
    store.replace(items);
    position = resourceVersion;
    synced = true;
    relistAt = Date.now() + between(timings.relistMs, random);
    for (const wake of waiting) wake();
  }

  /** One line of a watch. Throws where it cannot be understood: then nothing that follows can be trusted. */
  function take(line: Buffer): void {
    const event = JSON.parse(line.toString('utf8')) as { type?: string; object?: unknown };
    const object = event.object as T;
    switch (event.type) {
      case 'ADDED':
      case 'MODIFIED':
        store.put(object);
        break;
      case 'DELETED':
        store.remove(object);
        break;
      case 'BOOKMARK':
        break;
      case 'ERROR': {
        const status = event.object as Status;
        throw new WatchError(status.message ?? 'an error without words', status.code === 410);
      }
      default:
        throw new WatchError(`an event of type ${String(event.type)}`, false);
    }
    position = object.metadata.resourceVersion;
  }

  /** Watches until the stream ends, for whatever reason. True where something came of it. */
  async function watch(): Promise<boolean> {
    const beganAt = performance.now();
    let events = 0;
    const timeoutSeconds = Math.round(between(timings.timeoutSeconds, random));
    let failure: WatchError | null = null;
    const stream = new AbortController();
    const stop = () => stream.abort();
    const fail = (error: unknown) => {
      failure ??= error instanceof WatchError ? error : new WatchError((error as Error).message, false);
      stream.abort();
    };
    const lines = createLineSplitter({
      maxBytes: OBJECT_BYTES,
      keepBytes: 0,
      onLine: (line) => {
        if (failure !== null || line.length === 0) return;
        try {
          take(line);
          events += 1;
        } catch (error) {
          fail(error);
        }
      },
      onCut: () => fail(new WatchError('an event of more than 16 MiB', false)),
    });
    interrupt.signal.addEventListener('abort', stop, { once: true });
    // Streams live long; the list that is due is not forgotten over it.
    const due = setTimeout(stop, Math.max(0, relistAt - Date.now()));
    try {
      const end = await api.changes(
        collection,
        { labelSelector, resourceVersion: position, timeoutSeconds },
        {
          signal: stream.signal,
          idleMs: timeoutSeconds * 1000 + timings.silenceMs,
          onOpen: () => {
            lastContactAt = Date.now();
          },
          onData: (chunk) => {
            lastContactAt = Date.now();
            lines.push(chunk);
          },
        },
      );
      if (end.kind === 'stalled') options.onProblem(`the watch on ${collection} was silent for too long`);
    } finally {
      clearTimeout(due);
      interrupt.signal.removeEventListener('abort', stop);
    }
    // A line that was cut off in the middle comes again: the position is that of the last whole one.
    if (failure !== null) throw failure as WatchError;
    return events > 0 || performance.now() - beganAt > timings.fruitfulMs;
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      const beganAt = performance.now();
      let wait = 0;
      try {
        if (isListOwed || Date.now() >= relistAt) {
          await list();
        } else {
          if (await watch()) backoff.reset();
          else wait = backoff.next();
          wait = Math.max(wait, timings.apartMs - (performance.now() - beganAt));
        }
      } catch (error) {
        if (closing.signal.aborted) break;
        wait = Math.max(backoff.next(), askedWait(error));
        const isExpired = error instanceof WatchError ? error.isExpired : answeredWith(error, 410);
        // Too old a position is nothing unusual after a long absence, and a list is the answer to it.
        if (isExpired) lose(null);
        else if (error instanceof WatchError) lose(`the watch on ${collection} brought ${error.message}`);
        else options.onProblem(`${collection}: ${(error as Error).message}`);
      }
      if (wait > 0) await pause(wait, interrupt.signal);
      if (interrupt.signal.aborted) interrupt = new AbortController();
    }
  }
  const done = run();

  return {
    get synced() {
      return synced;
    },
    get lastContactAt() {
      return lastContactAt;
    },
    get: (name) => store.get(name),
    list: () => store.list(),
    whenSynced: (signal) =>
      new Promise((resolve, reject) => {
        const settle = (act: () => void) => () => {
          waiting.delete(ready);
          signal?.removeEventListener('abort', aborted);
          closing.signal.removeEventListener('abort', closed);
          act();
        };
        const ready = settle(resolve);
        const aborted = settle(() => reject(signal?.reason as Error));
        const closed = settle(() => reject(new Error(`the watch on ${collection} was closed`)));
        if (synced) resolve();
        else if (signal?.aborted) reject(signal.reason as Error);
        else if (closing.signal.aborted) closed();
        else {
          waiting.add(ready);
          signal?.addEventListener('abort', aborted, { once: true });
          closing.signal.addEventListener('abort', closed, { once: true });
        }
      }),
    resync: () => {
      isListOwed = true;
      interrupt.abort();
    },
    close: async () => {
      closing.abort();
      interrupt.abort();
      await done;
    },
  };
}

/** The stream was understood, and what it says is no change; or it was not understood. */
class WatchError extends Error {
  readonly isExpired: boolean;
  constructor(message: string, isExpired: boolean) {
    super(message);
    this.isExpired = isExpired;
  }
}
