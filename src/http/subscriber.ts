import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** What a reader asked for, once it is known to be allowed. */
export interface Subscription {
  /** The run's row number. */
  run: number;
  isOver: () => boolean;
  /** Only this variation's events, and the run's own. */
  variation?: number | undefined;
  /** Everything up to this id was seen. */
  after: number;
  /** The cursor could not be used: said first, as an `event: reset`. */
  reset?: Reset | undefined;
  /** The API key it came with; its revocation ends the stream. */
  key?: string | undefined;
  /** More response headers. */
  headers?: Readonly<Record<string, string>> | undefined;
}

export interface Reset {
  /** `malformed`: no event id; `unknown`: never given out; `pruned`: what comes after it is not all there any more. */
  reason: 'malformed' | 'unknown' | 'pruned';
  first_available_id: number | null;
  last_id: number | null;
}

/**
 * Where a reader stands: `queued` for its next page, `waiting` until its socket took what it has, `live` (gets commits as
 * they happen), or `ended`.
 */
export type ReaderState = 'queued' | 'waiting' | 'live' | 'ended';

/** Headers of every event stream. `no-transform` and X-Accel-Buffering keep proxies from compressing or holding it back. */
export const STREAM_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store, no-transform',
  'x-accel-buffering': 'no',
  'x-content-type-options': 'nosniff',
};

/** Frames as they go over the wire, in both framings, made once for all readers. */
export class Frames {
  readonly plain: Buffer;
  #chunk: Buffer | undefined;

  constructor(plain: Buffer) {
    this.plain = plain;
  }

  /** As one HTTP/1.1 chunk, header and trailer included: one write per socket, and no copy per reader. */
  get chunk(): Buffer {
    return (this.#chunk ??= Buffer.concat([
      Buffer.from(`${this.plain.length.toString(16)}\r\n`, 'latin1'),
      this.plain,
      Buffer.from('\r\n', 'latin1'),
    ]));
  }
}

/** One reader's connection: writes straight to the socket, past the response object, whose framing it does itself. */
export class Subscriber {
  readonly run: number;
  readonly variation: number | undefined;
  readonly key: string | undefined;
  /** Everything up to this id was written, or is not for this reader. */
  cursor: number;
  state: ReaderState = 'waiting';
  /** Events of its next page: begins small, because nobody knows yet how long they are, and grows. */
  pageSize = 64;

  readonly #response: ServerResponse;
  readonly #socket: Socket;
  readonly #chunked: boolean;
  readonly #onDrain: () => void;

  /**
   * Sends the head. `response` must have its socket.
   *
   * @param options.stallMs how long a socket may take nothing of what waits for it, before it is cut off.
   */
  constructor(
    response: ServerResponse,
    socket: Socket,
    subscription: Subscription,
    options: { stallMs: number; onDrain: (reader: Subscriber) => void; onClose: (reader: Subscriber) => void },
  ) {
    this.run = subscription.run;
    this.variation = subscription.variation;
    this.key = subscription.key;
    this.cursor = subscription.after;
    this.#response = response;
    this.#socket = socket;
    this.#onDrain = () => options.onDrain(this);

    response.writeHead(200, { ...STREAM_HEADERS, ...subscription.headers });
    response.flushHeaders();
    // Known only now: HTTP/1.0 has no chunks, and ends with the connection.
    this.#chunked = response.chunkedEncoding;
    socket.setNoDelay(true);
    socket.on('drain', this.#onDrain);
    response.once('close', () => {
      socket.off('drain', this.#onDrain);
      options.onClose(this);
    });
    // Node's socket timer knows a slow write from a stuck one: it asks the kernel how much it took since. Idle streams have
    // nothing waiting; and what a stuck one has waiting cannot be dropped in part, so it is cut off and may resume.
    response.setTimeout(options.stallMs, () => {
      if (socket.writableLength > 0) socket.destroy();
    });
  }

  /** Bytes that the socket has not taken yet. */
  get backlog(): number {
    return this.#socket.writableLength;
  }

  /** Whether a `drain` will come: some write filled the buffer and it has not emptied since. */
  get mustDrain(): boolean {
    return this.#socket.writableNeedDrain;
  }

  send(frames: Frames): void {
    // The peer may have closed its side while this was on the way.
    if (!this.#socket.writable) {
      this.#socket.destroy();
      return;
    }
    this.#socket.write(this.#chunked ? frames.chunk : frames.plain);
  }

  /** Ends the stream in order; the connection stays usable where HTTP allows it. */
  end(): void {
    this.state = 'ended';
    this.#response.end();
  }

  /** Cuts the connection: the reader can resume. */
  destroy(): void {
    this.state = 'ended';
    this.#socket.destroy();
  }
}
