import { connect } from 'node:net';
import type { Socket } from 'node:net';

/** A reader of event streams over a bare socket: sees every byte, and can be slow, stuck or cut. */
export interface SseClient {
  readonly socket: Socket;
  /** Status and headers, once they are there. */
  head(): Promise<{ status: number; headers: Map<string, string> }>;
  /** Body bytes so far, chunk framing removed. */
  body(): Buffer;
  /** Resolves when the body holds the text, or with false when the connection ended without. */
  sees(text: string): Promise<boolean>;
  /** Resolves when the body is over in order (true), or the connection is (false). */
  over(): Promise<boolean>;
  /** The whole frames with an id so far, as they came. */
  frames(): string[];
  cut(): void;
}

/** @param request.stuck never reads. */
export function sseClient(
  port: number,
  path: string,
  request: { headers?: Record<string, string>; version?: string; method?: string; stuck?: boolean } = {},
): SseClient {
  const socket = connect({ port, host: '127.0.0.1' });
  const response = new ResponseReader();
  let closed = false;
  let wake: (() => void)[] = [];
  const changed = (): void => {
    const waiting = wake;
    wake = [];
    for (const each of waiting) each();
  };
  socket.on('data', (piece: Buffer) => {
    response.push(piece);
    changed();
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    closed = true;
    changed();
  });
  if (request.stuck === true) socket.pause();
  const headers = Object.entries({ host: `127.0.0.1:${port}`, ...request.headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  socket.write(`${request.method ?? 'GET'} ${path} HTTP/${request.version ?? '1.1'}\r\n${headers.join('')}\r\n`);

  async function until(look: () => boolean): Promise<boolean> {
    for (;;) {
      if (look()) return true;
      if (closed) return false;
      await new Promise<void>((resolve) => wake.push(resolve));
    }
  }
  return {
    socket,
    async head() {
      await until(() => response.head !== undefined);
      return response.head ?? { status: 0, headers: new Map<string, string>() };
    },
    body: () => response.body,
    sees(text) {
      let from = 0;
      return until(() => {
        const found = response.body.includes(text, Math.max(0, from - text.length));
        from = response.body.length;
        return found;
      });
    },
    over: () => until(() => response.isOver),
    frames: () => framesIn(response.body),
    cut: () => socket.destroy(),
  };
}

/** Takes an HTTP/1 answer apart as it comes. */
class ResponseReader {
  head: { status: number; headers: Map<string, string> } | undefined;
  isOver = false;
  #body: Buffer = Buffer.alloc(65_536);
  #length = 0;
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes of the chunk at hand that are still to come, its line break included; null where its head is next. */
  #left: number | null = null;

  get body(): Buffer {
    return this.#body.subarray(0, this.#length);
  }

  #keep(piece: Buffer): void {
    if (this.#length + piece.length > this.#body.length) {
      const larger = Buffer.alloc(2 * (this.#length + piece.length));
      this.#body.copy(larger);
      this.#body = larger;
    }
    this.#length += piece.copy(this.#body, this.#length);
  }

  push(piece: Buffer): void {
    if (this.isOver) return;
    this.#rest = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    if (this.head === undefined && !this.#readHead()) return;
    const { status, headers } = this.head ?? { status: 0, headers: new Map<string, string>() };
    if (headers.get('transfer-encoding') === 'chunked') return this.#readChunks();
    this.#keep(this.#rest);
    this.#rest = Buffer.alloc(0);
    const length = headers.get('content-length');
    if (status === 204 || (length !== undefined && this.body.length >= Number(length))) this.isOver = true;
  }

  #readHead(): boolean {
    const end = this.#rest.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [first = '', ...lines] = this.#rest.toString('latin1', 0, end).split('\r\n');
    const headers = lines.map((line): [string, string] => [
      line.slice(0, line.indexOf(':')).toLowerCase(),
      line.slice(line.indexOf(':') + 1).trim(),
    ]);
    this.head = { status: Number(first.split(' ')[1]), headers: new Map(headers) };
    this.#rest = this.#rest.subarray(end + 4);
    return true;
  }

  #readChunks(): void {
    for (;;) {
      if (this.#left === null) {
        const lineEnd = this.#rest.indexOf('\r\n');
        if (lineEnd < 0) return;
        const size = Number.parseInt(this.#rest.toString('latin1', 0, lineEnd), 16);
        if (Number.isNaN(size)) throw new Error(`not a chunk: ${this.#rest.toString('latin1', 0, 40)}`);
        this.#rest = this.#rest.subarray(lineEnd + 2);
        this.#left = size + 2;
        if (size === 0) {
          this.isOver = true;
          return;
        }
      }
      const taken = this.#rest.subarray(0, this.#left);
      const text = taken.subarray(0, Math.max(0, Math.min(taken.length, this.#left - 2)));
      this.#keep(text);
      this.#left -= taken.length;
      this.#rest = this.#rest.subarray(taken.length);
      if (this.#left > 0) return;
      this.#left = null;
    }
  }
}

/** The whole frames with an id in a stream's text: no heartbeats, no retry lines, and not the torn last one. */
export function framesIn(body: Buffer): string[] {
  const blocks = body.toString('utf8').split('\n\n');
  blocks.pop();
  return blocks.filter((block) => block.startsWith('id: ')).map((block) => `${block}\n\n`);
}

export function idsIn(frames: readonly string[]): number[] {
  return frames.map((frame) => Number(frame.slice(4, frame.indexOf('\n'))));
}
