import { connect, type Socket } from 'node:net';

/** An HTTP/1.1 GET as cheap as it gets: the body's bytes are handed over where they were read, without a copy. */
export interface ConnectionOptions {
  url: string;
  path: string;
  method?: 'GET' | 'POST' | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  /** A piece of the body, dechunked; only valid during the call. */
  onBody(buffer: Buffer, start: number, end: number): void;
  /** The body ended (`null`), or the connection broke, or the answer was not 200. */
  onEnd(error: Error | null): void;
}

type State = 'head' | 'size' | 'data' | 'after' | 'over';

/** All reads go here, one after the other: the connections of this process share it. */
const shared = Buffer.allocUnsafe(256 * 1024);

const LF = 10;

export class Connection {
  /** Resolves with the head of a 200. */
  readonly opened: Promise<void>;
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #opened = Promise.withResolvers<void>();
  #state: State = 'head';
  #head = '';
  /** Bytes of this chunk that are still to come, or to be skipped behind it. */
  #left = 0;
  #size = '';

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.opened = this.#opened.promise;
    const { hostname, port, host } = new URL(options.url);
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: shared,
        callback: (length) => {
          this.#take(length);
          return true;
        },
      },
    });
    const headers = Object.entries(options.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
    const method = options.method ?? 'GET';
    const length = method === 'POST' ? 'content-length: 0\r\n' : '';
    this.#socket.write(`${method} ${options.path} HTTP/1.1\r\nhost: ${host}\r\n${length}${headers.join('')}\r\n`);
    this.#socket.on('error', (error) => this.#finish(error));
    this.#socket.on('close', () => this.#finish(new Error('the connection was closed')));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#state = 'over';
    this.#socket.destroy();
  }

  #finish(error: Error | null): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#socket.destroy();
    this.#opened.reject(error ?? new Error('it ended before it began'));
    this.opened.catch(() => undefined);
    this.#options.onEnd(error);
  }

  #take(length: number): void {
    let at = 0;
    while (at < length) {
      switch (this.#state) {
        case 'head':
          at = this.#takeHead(at, length);
          break;
        case 'size':
          at = this.#takeSize(at, length);
          break;
        case 'data': {
          const end = Math.min(length, at + this.#left);
          this.#left -= end - at;
          if (this.#left === 0) {
            this.#state = 'after';
            this.#left = 2;
          }
          this.#options.onBody(shared, at, end);
          at = end;
          break;
        }
        case 'after': {
          const skipped = Math.min(this.#left, length - at);
          at += skipped;
          this.#left -= skipped;
          if (this.#left === 0) this.#state = 'size';
          break;
        }
        case 'over':
          return;
      }
    }
  }

  #takeHead(at: number, length: number): number {
    const before = this.#head.length;
    this.#head += shared.toString('latin1', at, length);
    const end = this.#head.indexOf('\r\n\r\n');
    if (end === -1) return length;
    const status = this.#head.slice(9, 12);
    if (status !== '200' || !/\r\ntransfer-encoding: chunked/i.test(this.#head)) {
      this.#finish(new Error(`the answer was ${this.#head.slice(0, 500)}`));
      return length;
    }
    this.#state = 'size';
    this.#opened.resolve();
    return at + end + 4 - before;
  }

  #takeSize(at: number, length: number): number {
    for (let position = at; position < length; position += 1) {
      const byte = shared[position] ?? 0;
      if (byte === LF) {
        this.#left = Number.parseInt(this.#size, 16);
        this.#size = '';
        this.#state = 'data';
        if (this.#left === 0) this.#finish(null);
        return position + 1;
      }
      this.#size += String.fromCharCode(byte);
    }
    return length;
  }
}
