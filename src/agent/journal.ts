import { createHash, type Hash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { Eof } from '../contract/attempt.ts';
import { encodeEnvelope, encodeHeartbeat } from '../contract/envelope-codec.ts';
import type { EnvelopeType } from '../contract/envelope.ts';
import { now } from '../contract/ids.ts';

/** The attempt's journal: numbered lines, appended by one writer, one write per batch. */
export interface Journal {
  /** Bytes written and waiting to be. */
  readonly bytes: number;
  /** The number of the last line. */
  readonly seq: number;
  /**
   * Numbers one event and queues it. `data` is JSON text. Never waits; see {@link Journal.drained}.
   *
   * @param value what `data` means, where that is known already
   */
  append(type: EnvelopeType, data: string, value?: unknown): void;
  /** The recorder's own words. `facts` are added to `{code, message}`. */
  note(code: string, message: string, facts?: NoteFacts): void;
  heartbeat(): void;
  /** Whether so much waits that nothing more should be read of what fills it. */
  readonly full: boolean;
  /** Resolves when there is room again, or the journal cannot be written any more. */
  drained(): Promise<void>;
  /** Writes what waits and the last word behind it, has the disk confirm it, closes. Rejects where the disk never took it. */
  close(word: Omit<Eof, 'lastSeq' | 'sha256'>): Promise<Eof>;
}

/** Facts of a note, beside its code and message. */
export type NoteFacts = Record<string, unknown> & { code?: never; message?: never };

export interface JournalOptions {
  path: string;
  attempt: string;
  /** Told once when a write failed (usually: the disk is full). The journal goes on trying. */
  onTrouble(error: NodeJS.ErrnoException): void;
  /** How long a failing write is tried again before it is given up (ms). */
  patienceMs?: number | undefined;
  /** What the file holds already: its last number, its bytes, the hash over its numbered lines. */
  resume?: { seq: number; bytes: number; hash: Hash } | undefined;
  /** Told of every event when it is numbered: where in the file its first line will begin. */
  onAppend?: ((seq: number, offset: number) => void) | undefined;
  /** Told of every batch once it is in the file: whole lines, and the last number and the length of the file with them. */
  onWritten?: ((batch: Buffer, seq: number, bytes: number) => void) | undefined;
}

/** More than this waiting, and readers of the agent's pipes stop. Bytes. */
const HIGH_WATER = 1024 * 1024;
const RETRY_MS = 200;

export async function openJournal(options: JournalOptions): Promise<Journal> {
  const file = await open(options.path, 'a', 0o600);
  return createJournal(options, file);
}

/** The part of a file that a journal needs; a test hands in one that fails. */
export interface JournalFile {
  write(buffer: Buffer, offset: number, length: number): Promise<{ bytesWritten: number }>;
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export function createJournal(options: JournalOptions, file: JournalFile): Journal {
  const { attempt } = options;
  const hash = options.resume?.hash ?? createHash('sha256');
  let seq = options.resume?.seq ?? 0;
  let bytes = options.resume?.bytes ?? 0;
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let writing: Promise<void> | null = null;
  let failure: Error | null = null;
  let troubled = false;
  let roomWanted: (() => void)[] = [];
  let stamp = '';
  let stampedAt = 0;

  function time(): string {
    const at = Date.now();
    if (at !== stampedAt) {
      stampedAt = at;
      stamp = now();
    }
    return stamp;
  }

  function queue(line: Buffer): void {
    waiting.push(line);
    waitingBytes += line.length;
    bytes += line.length;
  }

  function schedule(): void {
    if (writing !== null || failure !== null || waiting.length === 0) return;
    // What else comes in this turn goes out in the same write.
    writing = new Promise<void>((resolve) => setImmediate(resolve)).then(flush).finally(() => {
      writing = null;
      if (waitingBytes <= HIGH_WATER || failure !== null) {
        for (const resolve of roomWanted) resolve();
        roomWanted = [];
      }
      schedule();
    });
  }

  async function flush(): Promise<void> {
    const batch = waiting.length === 1 ? waiting[0] : Buffer.concat(waiting);
    const upTo = { seq, bytes };
    waiting = [];
    if (batch === undefined) return;
    await write(batch);
    waitingBytes -= batch.length;
    if (failure === null) options.onWritten?.(batch, upTo.seq, upTo.bytes);
  }

  /** A write may take only a part before the disk is full: it goes on where it stopped, so that no line is ever written twice or halved. */
  async function write(batch: Buffer): Promise<void> {
    const giveUp = options.patienceMs ?? 30_000;
    let failingSince: number | null = null;
    for (let at = 0; at < batch.length;) {
      try {
        const { bytesWritten } = await file.write(batch, at, batch.length - at);
        at += bytesWritten;
        failingSince = null;
      } catch (error) {
        if (!troubled) {
          troubled = true;
          options.onTrouble(error as NodeJS.ErrnoException);
        }
        failingSince ??= Date.now();
        if (Date.now() - failingSince >= giveUp) {
          failure = error as Error;
          return;
        }
        await wait(RETRY_MS);
      }
    }
  }

  const journal: Journal = {
    get bytes() {
      return bytes;
    },
    get seq() {
      return seq;
    },
    get full() {
      return waitingBytes > HIGH_WATER && failure === null;
    },
    append: (type, data) => {
      const lines = encodeEnvelope({ attempt, seq: seq + 1, ts: time(), type, data });
      options.onAppend?.(seq + 1, bytes);
      seq += lines.length;
      for (const line of lines) {
        hash.update(line);
        queue(line);
      }
      schedule();
    },
    note: (code, message, facts = {}) => journal.append('note', JSON.stringify({ code, message, ...facts })),
    heartbeat: () => {
      queue(encodeHeartbeat(attempt, seq, time()));
      schedule();
    },
    drained: () => (journal.full ? new Promise((resolve) => roomWanted.push(resolve)) : Promise.resolve()),
    close: async (word) => {
      const eof: Eof = { lastSeq: seq + 1, sha256: hash.digest('hex'), ...word };
      options.onAppend?.(seq + 1, bytes);
      seq += 1;
      for (const line of encodeEnvelope({ attempt, seq, ts: time(), type: 'eof', data: JSON.stringify(eof) }))
        queue(line);
      schedule();
      while (writing !== null) await writing;
      if (failure !== null) {
        await file.close().catch(() => undefined);
        throw failure;
      }
      await file.datasync();
      await file.close();
      return eof;
    },
  };
  return journal;
}
