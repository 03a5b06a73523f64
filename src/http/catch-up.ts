import type { FramePage, Store } from '../store/store.ts';
import type { Log, Metrics } from '../telemetry.ts';
import { Frames } from './subscriber.ts';
import type { Subscriber } from './subscriber.ts';

export interface CatchUpDeps {
  store: Store;
  metrics: Metrics;
  log: Log;
  /** Events per page, at most. */
  pageSize: number;
  /** Bytes that may wait in a socket before its reader waits for a drain. */
  maxBacklog: number;
  /** Called in the same step in which a reader was found to have everything. */
  join: (reader: Subscriber) => void;
}

/** A turn gives way after this, so that commits and requests are not kept waiting. */
const TURN_MS = 4;

/**
 * Brings readers from their cursor to the end of the log by pages from the store: a page per turn and reader, in the order in
 * which they asked, and never more for a socket than it takes.
 */
export class CatchUp {
  readonly #deps: CatchUpDeps;
  #queue: Subscriber[] = [];
  #scheduled = false;

  constructor(deps: CatchUpDeps) {
    this.#deps = deps;
  }

  /** Gives the reader its next page when it is its turn. */
  enqueue(reader: Subscriber): void {
    reader.state = 'queued';
    this.#queue.push(reader);
    this.#schedule();
  }

  /** Once its socket took what it has; whoever hears the drain calls {@link enqueue}. */
  wait(reader: Subscriber): void {
    reader.state = 'waiting';
    if (!reader.mustDrain) this.enqueue(reader);
  }

  #schedule(): void {
    if (this.#scheduled || this.#queue.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#turn();
      this.#schedule();
    });
  }

  #turn(): void {
    const queue = this.#queue;
    this.#queue = [];
    // Readers at the same place (all of them, after a restart) share a page within the turn.
    const pages = new Map<string, { page: FramePage; frames: Frames }>();
    const end = performance.now() + TURN_MS;
    let served = 0;
    for (const reader of queue) {
      if (served > 0 && performance.now() > end) break;
      served += 1;
      if (reader.state !== 'queued') continue;
      try {
        this.#advance(reader, pages);
      } catch (error) {
        this.#deps.log.error(
          { err: error, run: reader.run, after: reader.cursor },
          'the event log could not be read for a stream',
        );
        reader.destroy();
      }
    }
    // Those that got a page queued up again: behind those that did not.
    this.#queue = [...queue.slice(served), ...this.#queue];
  }

  #advance(reader: Subscriber, pages: Map<string, { page: FramePage; frames: Frames }>): void {
    const { store, metrics, pageSize, maxBacklog, join } = this.#deps;
    for (;;) {
      const limit = Math.min(reader.pageSize, pageSize);
      const place = `${reader.run} ${reader.cursor} ${reader.variation ?? ''} ${limit}`;
      let found = pages.get(place);
      if (found === undefined) {
        const page = readPage(store, reader, limit);
        found = { page, frames: new Frames(page.frames) };
        pages.set(place, found);
      }
      const { page, frames } = found;
      if (page.count === 0) return join(reader);
      reader.send(frames);
      metrics.streamed(frames.plain.length);
      reader.cursor = page.lastId;
      // Long events make short pages: what waits in memory per reader is bytes, not events.
      reader.pageSize = Math.max(1, Math.floor(limit * Math.min(2, maxBacklog / 4 / Math.max(1, frames.plain.length))));
      const isFull = page.count >= limit;
      if (reader.backlog > maxBacklog || (isFull && reader.mustDrain)) return this.wait(reader);
      if (isFull) return this.enqueue(reader);
      // A short page: most likely the end. To be sure is one more read, and must be in this same step.
    }
  }
}

export function readPage(
  store: Store,
  at: { run: number; cursor: number; variation?: number | undefined },
  limit: number,
): FramePage {
  return store.readFrames(at.run, {
    after: at.cursor,
    limit,
    ...(at.variation === undefined ? {} : { variation: at.variation }),
  });
}
