import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { CommittedFrames, Store } from '../store/store.ts';
import type { Log, Metrics } from '../telemetry.ts';
import { CatchUp, readPage } from './catch-up.ts';
import { Frames, Subscriber } from './subscriber.ts';
import type { Reset, Subscription } from './subscriber.ts';

/**
 * Event streams. The log is in the store; a reader is a cursor and a socket.
 *
 * A *live* reader gets each commit's frames as one shared buffer, one write. Every other reader *catches up*: pages from the
 * store, a page per turn and reader, as fast as its socket takes them. So a slow reader costs its socket's buffer and nothing
 * else, and a resume is the same code as a reader that fell behind.
 *
 * Why none is lost or doubled in between: reading a page, joining the live readers and handing out a commit all happen in this
 * thread, and the first two in one synchronous step. When a page read comes back empty, everything committed was sent, and the
 * next commit finds the reader in place. A commit that a page has overtaken is told by its ids.
 */
export interface SseOptions {
  heartbeatMs: number;
  /** How long a socket may take nothing of what waits for it. */
  stallMs: number;
  maxSubscribers: number;
  /** Events per page, at most. */
  pageSize: number;
  /** Bytes that may wait in a socket before the reader has to catch up from the store. */
  maxBacklog: number;
  /** Milliseconds an EventSource waits before it comes back. */
  retryMs: number;
  /** At shutdown each reader is told to wait up to this much longer, so that they do not all come back at once. */
  retryJitterMs: number;
}

const DEFAULTS: SseOptions = {
  heartbeatMs: 15_000,
  stallMs: 30_000,
  maxSubscribers: 5000,
  pageSize: 500,
  maxBacklog: 1024 * 1024,
  retryMs: 1000,
  retryJitterMs: 4000,
};

/** Readers that are served in one go where it is not urgent (heartbeats, shutdown): a write costs about 5 us. */
const SLICE = 250;

interface Group {
  members: Set<Subscriber>;
  live: Set<Subscriber>;
  isOver: () => boolean;
}

export class SseHub {
  readonly #store: Store;
  readonly #metrics: Metrics;
  readonly #options: SseOptions;
  readonly #hello: Frames;
  readonly #groups = new Map<number, Group>();
  readonly #stopListening: () => void;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #catchUp: CatchUp;
  #count = 0;
  #closing = false;

  constructor(deps: { store: Store; metrics: Metrics; log: Log }, options: Partial<SseOptions> = {}) {
    this.#store = deps.store;
    this.#metrics = deps.metrics;
    this.#options = { ...DEFAULTS, ...options };
    this.#catchUp = new CatchUp({ ...deps, ...this.#options, join: (reader) => this.#join(reader) });
    this.#hello = new Frames(Buffer.from(`retry: ${this.#options.retryMs}\n\n`));
    this.#stopListening = deps.store.onCommit((committed) => this.#deliver(committed));
    this.#heartbeat = setInterval(() => void this.#beat(), this.#options.heartbeatMs).unref();
    deps.metrics.subscribers(() => this.#count);
  }

  /** Open streams. */
  get size(): number {
    return this.#count;
  }

  /** Runs that somebody watches: none when there are no streams. */
  get watchedRuns(): number {
    return this.#groups.size;
  }

  /** Bytes that wait in the sockets of all readers. */
  get backlog(): number {
    let bytes = 0;
    for (const { members } of this.#groups.values()) for (const reader of members) bytes += reader.backlog;
    return bytes;
  }

  get isFull(): boolean {
    return this.#count >= this.#options.maxSubscribers;
  }

  get isClosing(): boolean {
    return this.#closing;
  }

  /**
   * Where a stream begins. `over`: the run is over and the reader has seen all of it.
   *
   * @param cursor what the reader says it saw last; undefined = nothing. Ids are store-wide, so any id that was given out is
   *   a position in every run; what is none is answered with a reset and the stream from its first event.
   */
  place(
    source: { run: number; isOver: () => boolean },
    cursor: string | undefined,
    variation?: number,
  ): { after: number; reset?: Reset } | 'over' {
    const range = this.#store.range(source.run);
    const reset = (reason: Reset['reason']): { after: number; reset: Reset } => ({
      after: 0,
      reset: { reason, first_available_id: range?.first ?? null, last_id: range?.last ?? null },
    });
    const after = cursor === undefined || cursor === '' ? 0 : Number(cursor);
    if (cursor !== undefined && !/^\d{0,16}$/.test(cursor)) return reset('malformed');
    if (after > this.#store.lastId()) return reset('unknown');
    if (after > 0 && range !== null && after < range.first) return reset('pruned');
    if (isOver(source) && readPage(this.#store, { run: source.run, cursor: after, variation }, 1).count === 0)
      return 'over';
    return { after };
  }

  /** Streams to a response until the run is over, the reader goes, or the hub closes. Nothing may have been sent on it yet. */
  open(response: ServerResponse, connection: Socket, subscription: Subscription): void {
    if (connection.destroyed || response.destroyed) return;
    // A pipelined request is handled before the answer to the one before it is out: its response has no socket until then.
    if (response.socket === null)
      response.once('socket', () => setImmediate(() => this.#start(response, connection, subscription)));
    else this.#start(response, connection, subscription);
  }

  #start(response: ServerResponse, socket: Socket, subscription: Subscription): void {
    if (socket.destroyed || !socket.writable) return;
    socket.cork();
    const reader = new Subscriber(response, socket, subscription, {
      stallMs: this.#options.stallMs,
      onDrain: (drained) => {
        if (drained.state === 'waiting') this.#catchUp.enqueue(drained);
      },
      onClose: (closed) => this.#forget(closed),
    });
    this.#count += 1;
    let group = this.#groups.get(reader.run);
    if (group === undefined) {
      group = { members: new Set(), live: new Set(), isOver: subscription.isOver };
      this.#groups.set(reader.run, group);
    }
    group.members.add(reader);
    reader.send(this.#hello);
    if (subscription.reset !== undefined)
      reader.send(new Frames(Buffer.from(`event: reset\ndata: ${JSON.stringify(subscription.reset)}\n\n`)));
    if (this.#closing) this.#end(reader);
    else this.#catchUp.enqueue(reader);
    socket.uncork();
  }

  #forget(reader: Subscriber): void {
    reader.state = 'ended';
    const group = this.#groups.get(reader.run);
    if (group?.members.delete(reader) !== true) return;
    this.#count -= 1;
    group.live.delete(reader);
    if (group.members.size === 0) this.#groups.delete(reader.run);
  }

  #end(reader: Subscriber): void {
    this.#forget(reader);
    reader.end();
  }

  // Live.

  #deliver(committed: readonly CommittedFrames[]): void {
    for (const batch of committed) {
      const group = this.#groups.get(batch.run);
      if (group === undefined) continue;
      const shared = new Map<number | undefined, Frames>();
      let bytes = 0;
      for (const reader of group.live) {
        if (batch.lastId <= reader.cursor) continue;
        if (batch.firstId <= reader.cursor) {
          this.#fallBack(group, reader);
          continue;
        }
        let frames = shared.get(reader.variation);
        if (frames === undefined) {
          frames = new Frames(reader.variation === undefined ? batch.frames : batch.of(reader.variation));
          shared.set(reader.variation, frames);
        }
        // An empty chunk would be the end of the body.
        if (frames.plain.length > 0) {
          reader.send(frames);
          bytes += frames.plain.length;
        }
        reader.cursor = batch.lastId;
        if (reader.backlog > this.#options.maxBacklog) this.#fallBack(group, reader);
      }
      this.#metrics.streamed(bytes);
      if (batch.variations.has(null)) {
        this.#endIfOver(batch.run, group);
        // Whoever commits the last event may learn only afterwards that the commit is done.
        setImmediate(() => this.#endIfOver(batch.run, group));
      }
    }
  }

  /** From live back to the store, at the cursor; once the socket took what it has. */
  #fallBack(group: Group, reader: Subscriber): void {
    group.live.delete(reader);
    this.#catchUp.wait(reader);
  }

  #endIfOver(run: number, group: Group): void {
    if (group.live.size === 0 || !isOver(group)) return;
    const last = this.#store.range(run)?.last ?? 0;
    for (const reader of group.live) if (reader.cursor >= last) this.#end(reader);
  }

  /** Everything committed was sent: the reader lives on commits from here on, unless there will be none. */
  #join(reader: Subscriber): void {
    const group = this.#groups.get(reader.run);
    if (group === undefined) return;
    reader.cursor = Math.max(reader.cursor, this.#store.range(reader.run)?.last ?? 0);
    if (isOver(group)) return this.#end(reader);
    reader.state = 'live';
    group.live.add(reader);
  }

  // All of them.

  /** A comment for proxies, and an event without an id for pages that want to know that the stream lives. */
  async #beat(): Promise<void> {
    const frames = new Frames(
      Buffer.from(`:\nevent: heartbeat\ndata: ${JSON.stringify({ time: new Date().toISOString() })}\n\n`),
    );
    for (const [run, group] of this.#groups) this.#endIfOver(run, group);
    await this.#slowly((reader) => {
      // What waits for the socket says the same; and a stuck one is to get no more.
      if (reader.backlog === 0) reader.send(frames);
    });
  }

  async #slowly(each: (reader: Subscriber) => void): Promise<void> {
    const readers = [...this.#groups.values()].flatMap(({ members }) => [...members]);
    for (let at = 0; at < readers.length; at += SLICE) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      for (const reader of readers.slice(at, at + SLICE)) if (reader.state !== 'ended') each(reader);
    }
  }

  /** Ends the streams that came with a key. */
  dropKey(key: string): void {
    for (const group of [...this.#groups.values()]) {
      for (const reader of [...group.members]) if (reader.key === key) this.#end(reader);
    }
  }

  /** Ends all streams in order, each with its own time to come back. New ones end at once. */
  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#heartbeat);
    const { retryMs, retryJitterMs } = this.#options;
    await this.#slowly((reader) => {
      const wait = retryMs + Math.floor(Math.random() * retryJitterMs);
      reader.send(new Frames(Buffer.from(`retry: ${wait}\n\n`)));
      this.#end(reader);
    });
    this.#stopListening();
  }
}

/** A run that cannot be asked any more was forgotten, and nothing will follow. */
function isOver(source: { isOver: () => boolean }): boolean {
  try {
    return source.isOver();
  } catch {
    return true;
  }
}
