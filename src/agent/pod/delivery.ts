import { open } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { linesTaken, MAX_LINES_BYTES } from '../../contract/attempt-door.ts';
import { linePrefix } from '../../contract/envelope-encoder.ts';
import { parse, wordsOf, type DoorClient } from './door-client.ts';

/**
 * The durable path: whatever of the journal the server does not have a while after it was written is uploaded, from the file.
 * Usually the pod's log was faster, and nothing is.
 */
export interface Delivery {
  /** For the journal: see `JournalOptions`. */
  onAppend(seq: number, offset: number): void;
  onWritten(seq: number, bytes: number): void;
  /** The server has every line up to here. */
  heard(have: number): void;
  /** The door may have opened again. */
  knock(): void;
  readonly have: number;
  /** Bytes and lines uploaded so far. */
  readonly uploaded: { requests: number; bytes: number };
  /** Resolves when the server has every line up to `seq` (true), the attempt is over for it, or the signal is aborted (false). */
  drained(seq: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

export interface DeliveryOptions {
  door: DoorClient;
  journal: string;
  attempt: string;
  log(words: string): void;
  /** What was found in the journal: marks of it, its last number, its bytes. */
  found?: { marks: Mark[]; seq: number; bytes: number } | undefined;
  /** How long the live path is given (ms). */
  lagMs?: number | undefined;
}

/** Line `seq` begins at this offset of the journal. */
export interface Mark {
  seq: number;
  offset: number;
}

/** The first request of a catch-up is this long: where a few lines were lost, the server has what follows them. Bytes. */
const FIRST_BYTES = 32 * 1024;
/** Between two marks. Bytes. */
export const MARK_EVERY = 256 * 1024;
const READ_BYTES = 256 * 1024;

export function createDelivery(options: DeliveryOptions): Delivery {
  const { door, log, lagMs = 1000 } = options;
  const prefix = Buffer.from(linePrefix(options.attempt));
  const marks: Mark[] = options.found?.marks ?? [{ seq: 1, offset: 0 }];
  const stopped = new AbortController();
  const uploaded = { requests: 0, bytes: 0 };
  let written = { seq: options.found?.seq ?? 0, bytes: options.found?.bytes ?? 0 };
  let have = 0;
  /** What was written when; the first is the oldest that the server does not have. */
  let pending: { seq: number; at: number }[] =
    written.seq === 0 ? [] : [{ seq: written.seq, at: performance.now() - lagMs }];
  let wake: () => void = () => undefined;
  let listeners: (() => void)[] = [];

  function heard(seq: number): void {
    have = seq;
    if (pending[0] !== undefined && pending[0].seq <= seq) pending = pending.filter((each) => each.seq > seq);
    // It had more once (its machine lost power): what is missing counts from now.
    if (pending.length === 0 && seq < written.seq) pending = [{ seq: written.seq, at: performance.now() }];
    for (const listener of listeners) listener();
    wake();
  }

  /** The next whole lines behind `have`, byte for byte as they are in the file. */
  async function nextLines(maxBytes: number): Promise<Buffer> {
    const file = await open(options.journal, 'r');
    try {
      const wanted = have + 1;
      let { offset } = marks.findLast((mark) => mark.seq <= wanted) ?? { offset: 0 };
      const chunks: Buffer[] = [];
      let bytes = 0;
      /** Begin of a line that a read has cut. */
      let rest = Buffer.alloc(0);
      while (offset < written.bytes) {
        const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, written.bytes - offset));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
        if (bytesRead === 0) break;
        offset += bytesRead;
        const text =
          rest.length === 0 ? buffer.subarray(0, bytesRead) : Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
        let from = 0;
        for (let end = text.indexOf(10); end !== -1; end = text.indexOf(10, from)) {
          const line = text.subarray(from, end + 1);
          from = end + 1;
          if (bytes === 0 && seqOf(line) < wanted) continue;
          if (bytes + line.length > maxBytes) return Buffer.concat(chunks);
          chunks.push(line);
          bytes += line.length;
        }
        rest = Buffer.from(text.subarray(from));
      }
      return Buffer.concat(chunks);
    } finally {
      await file.close();
    }
  }

  function seqOf(line: Buffer): number {
    if (line.compare(prefix, 0, prefix.length, 0, Math.min(prefix.length, line.length)) !== 0) return 0;
    return Number.parseInt(line.toString('latin1', prefix.length, prefix.length + 16), 10);
  }

  /** Uploads until the server has what is overdue. */
  async function upload(): Promise<void> {
    const target = written.seq;
    for (let most = FIRST_BYTES; have < target; most = Math.min(most * 4, MAX_LINES_BYTES)) {
      const body = await nextLines(most);
      if (body.length === 0) return;
      const before = have;
      const answer = await door.ask('POST', '/attempt/lines', {
        body,
        type: 'application/x-ndjson',
        signal: stopped.signal,
      });
      if (answer.status !== 200) throw new Error(`lines were answered ${wordsOf(answer)}`);
      uploaded.requests += 1;
      uploaded.bytes += body.length;
      heard(linesTaken.parse(parse(answer.body)).have);
      if (have <= before) throw new Error(`the server took ${body.length} bytes and still has ${have} lines only`);
    }
  }

  async function run(): Promise<void> {
    const ended = AbortSignal.any([stopped.signal, door.over]);
    ended.addEventListener('abort', () => wake());
    let pause = 500;
    while (!ended.aborted) {
      const oldest = pending[0];
      const due = oldest === undefined ? null : oldest.at + lagMs - performance.now();
      if (due === null || due > 0) {
        await sleep(due);
        continue;
      }
      try {
        await upload();
        pause = 500;
      } catch (error) {
        if (ended.aborted) break;
        log(`Not uploaded: ${error instanceof Error ? error.message : String(error)}`);
        await Promise.race([wait(pause, undefined, { ref: false }), knocked.promise]);
        pause = Math.min(pause * 2, 10_000);
      }
    }
    for (const listener of listeners) listener();
  }

  function sleep(ms: number | null): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === null ? undefined : setTimeout(resolve, ms);
      timer?.unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  let knocked = Promise.withResolvers<void>();
  run().catch((error: unknown) => log(`The upload ended: ${String(error)}`));

  return {
    onAppend: (seq, offset) => {
      const last = marks.at(-1);
      if (last === undefined || offset - last.offset >= MARK_EVERY) marks.push({ seq, offset });
    },
    onWritten: (seq, bytes) => {
      const isNews = seq > written.seq;
      written = { seq, bytes };
      if (!isNews || seq <= have) return;
      const now = performance.now();
      const last = pending.at(-1);
      // One in a tenth of a lag is enough to know how old what is.
      if (last !== undefined && pending.length > 1 && now - last.at < lagMs / 10) last.seq = seq;
      else pending.push({ seq, at: now });
      if (pending.length === 1) wake();
    },
    heard,
    knock: () => {
      knocked.resolve();
      knocked = Promise.withResolvers();
    },
    get have() {
      return have;
    },
    uploaded,
    drained: (seq, signal) =>
      new Promise((resolve) => {
        const look = (): void => {
          const done = have >= seq;
          if (!done && !signal.aborted && !door.over.aborted) return;
          listeners = listeners.filter((each) => each !== look);
          resolve(done);
        };
        listeners.push(look);
        signal.addEventListener('abort', look);
        door.over.addEventListener('abort', look);
        look();
      }),
    close: () => stopped.abort(),
  };
}
