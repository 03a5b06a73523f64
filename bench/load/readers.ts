import { connect, type Socket } from 'node:net';
import { Connection } from './connection.ts';
import type { Mirror } from './mirror.ts';

/** Readers of one stream: their connections, and what they were sent, in a mirror. */

export interface ReadersOptions {
  url: string;
  path: string;
  count: number;
  /** The last so many of them stop reading when they have so many frames. */
  stuck?: { count: number; afterFrames: number } | undefined;
  /** Where the server is told how far all are that read. */
  ackPort?: number | undefined;
}

/** So many are connected at a time: a listening socket's queue is short. */
const AT_A_TIME = 100;
/** What a server says first, on every connection. */
const PREAMBLE = /^retry: \d+\n\n$/;

export class Readers {
  readonly #options: ReadersOptions;
  readonly #mirror: Mirror;
  readonly #connections = new Map<number, Connection>();
  /** Who is waited for: those that are not stuck. */
  #reading: number[] = [];
  #stuck: number[] = [];
  #acks: Socket | null = null;
  #acked = 0;
  #isAcking = false;
  #wanted: { seq: number; resolve: () => void } | null = null;
  #closing = false;

  constructor(options: ReadersOptions, mirror: Mirror) {
    this.#options = options;
    this.#mirror = mirror;
  }

  /** Connects all; resolves when each has the head of its answer. */
  async open(): Promise<void> {
    const { count, stuck, ackPort } = this.#options;
    const first = count - (stuck?.count ?? 0);
    const readers = Array.from({ length: count }, () => this.#mirror.add());
    this.#reading = readers.slice(0, first);
    this.#stuck = readers.slice(first);
    if (ackPort !== undefined) {
      this.#acks = connect({ host: '127.0.0.1', port: ackPort, noDelay: true });
      // The server is gone: whoever waits for the readers says so.
      this.#acks.on('error', () => undefined);
    }
    for (let from = 0; from < count; from += AT_A_TIME) {
      const some = readers.slice(from, from + AT_A_TIME).map((reader) => this.#connect(reader));
      await Promise.all(some.map((connection) => connection.opened));
    }
  }

  /** Resolves when every reader that is not stuck has this seq. Rejects after that time. */
  async reached(seq: number, timeoutMs: number): Promise<void> {
    if (this.#mirror.lowestSeq(this.#reading) >= seq) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => reject(new Error(`not all readers got to ${seq}: the last is at ${this.#mirror.lowestSeq(this.#reading)}`)),
      timeoutMs,
    );
    this.#wanted = { seq, resolve };
    this.#look();
    await promise.finally(() => clearTimeout(timer));
  }

  /** The stuck ones go on. With `cut`, every other one is cut off instead and resumes with the last id it has. */
  async wake({ cut }: { cut: boolean }): Promise<void> {
    const woken = this.#stuck;
    this.#stuck = [];
    this.#reading = [...this.#reading, ...woken];
    for (const [place, index] of woken.entries()) {
      if (!cut || place % 2 === 0) {
        this.#connections.get(index)?.resume();
      } else {
        this.#connections.get(index)?.close();
        const id = this.#mirror.rewind(index);
        await this.#connect(index, { 'last-event-id': String(id) }).opened;
      }
    }
  }

  close(): void {
    this.#closing = true;
    for (const connection of this.#connections.values()) connection.close();
    this.#acks?.destroy();
  }

  #connect(index: number, headers: Record<string, string> = {}): Connection {
    const afterFrames = this.#stuck.includes(index)
      ? (this.#options.stuck?.afterFrames ?? 0)
      : Number.POSITIVE_INFINITY;
    let preamble: string | null = '';
    const connection = new Connection({
      url: this.#options.url,
      path: this.#options.path,
      headers,
      onBody: (buffer, start, end) => {
        let at = start;
        if (preamble !== null) {
          const blank = buffer.subarray(start, end).indexOf('\n\n');
          at = blank === -1 ? end : start + blank + 2;
          preamble += buffer.toString('latin1', start, at);
          if (!preamble.endsWith('\n\n')) return;
          if (!PREAMBLE.test(preamble)) this.#mirror.violations.push(`reader ${index}: it began with ${preamble}`);
          preamble = null;
          if (at === end) return;
        }
        this.#mirror.take(index, buffer, at, end);
        if (this.#mirror.framesOf(index) >= afterFrames && this.#stuck.includes(index)) connection.pause();
        this.#look();
      },
      onEnd: (error) => {
        if (!this.#closing && error !== null) this.#mirror.violations.push(`reader ${index}: ${error.message}`);
      },
    });
    this.#connections.set(index, connection);
    return connection;
  }

  /** Once per turn, however many readers got something in it. */
  #look(): void {
    if (this.#isAcking || (this.#acks === null && this.#wanted === null)) return;
    this.#isAcking = true;
    setImmediate(() => {
      this.#isAcking = false;
      const seq = this.#mirror.lowestSeq(this.#reading);
      if (seq > this.#acked) {
        this.#acked = seq;
        this.#acks?.write(`${seq}\n`);
      }
      if (this.#wanted !== null && seq >= this.#wanted.seq) {
        this.#wanted.resolve();
        this.#wanted = null;
      }
    });
  }
}
