import type { Ahead } from './ahead.ts';
import { diskError } from './disk.ts';
import type { JournalFile, NumberedLine } from './journal-file.ts';

/** Brings lines into the journal in their order, whatever order they come in: one write for all that came in a turn of the loop. */
export interface IntakeWriter {
  /** Every line up to this one is in the journal, and the last word on the disk itself. */
  readonly have: number;
  readonly ended: boolean;
  readonly isGivenUp: boolean;
  /**
   * Queues a line. Known ones are read over. Where too much waits, one that nobody waits for is let go: the recorder is asked for it.
   * False where it stands behind the last word.
   */
  take(line: NumberedLine, isAwaited: boolean): boolean;
  /** A number was heard of without its line. */
  heardOf(seq: number): void;
  /** Resolves when there is room for more. */
  room(): Promise<void>;
  /** Resolves when all that was queued is written; rejects (disk_full …) where it could not be: then it is forgotten. */
  written(): Promise<void>;
  giveUp(): Promise<void>;
}

export interface IntakeWriterHooks {
  /** Lines that had come before their turn, whole: their turn may be now. */
  again(lines: Buffer): void;
  /** `have` may have moved; urgent where the recorder is to do something about it, or waits for it. */
  onChange(isUrgent: boolean): void;
}

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

/** More than this waiting to be written, and no more is taken. Bytes. */
const HIGH_WATER = 4 * 1024 * 1024;

export function createIntakeWriter(journal: JournalFile, ahead: Ahead, hooks: IntakeWriterHooks): IntakeWriter {
  /** In order, without a gap behind the journal's last line. */
  let queue: NumberedLine[] = [];
  /** Before their turn. */
  let early: NumberedLine[] = [];
  let waitingBytes = 0;
  /** The last line of journal and queue. */
  let taken = journal.lastSeq;
  /** The number of the last word, once it is taken. */
  let eof: number | null = journal.hasEof ? journal.lastSeq : ahead.eof;
  let isSynced = journal.hasEof;
  /** The end of what is without a gap, once the rest was given up. */
  let givenUpAt: number | null = null;
  let waiters: Waiter[] = [];
  let working: Promise<void> | null = null;
  /** The last try failed: not before something new comes is there another. */
  let isStuck = false;
  /** There is something that the journal lacks, which the recorder may not know yet. */
  let gapSeen = ahead.first !== null;
  let gapToldAt = -1;

  function have(): number {
    if (givenUpAt !== null) return givenUpAt;
    return journal.hasEof && !isSynced ? journal.lastSeq - 1 : journal.lastSeq;
  }

  function isTurnOfAhead(): boolean {
    return ahead.first !== null && (givenUpAt !== null || ahead.first <= taken + 1);
  }

  function kick(): void {
    isStuck = false;
    working ??= new Promise<void>((resolve) => setImmediate(resolve)).then(work).finally(() => {
      working = null;
      if (!isStuck && (queue.length > 0 || early.length > 0 || waiters.length > 0 || gapSeen)) kick();
    });
  }

  /** One go. Never rejects: whoever waits is told. */
  async function work(): Promise<void> {
    const told = waiters;
    waiters = [];
    const isNewGap = gapSeen;
    gapSeen = false;
    const before = have();
    try {
      await writeQueue();
      await putAside();
      while (isTurnOfAhead()) {
        hooks.again(await ahead.shift());
        await writeQueue();
      }
      if (ahead.first === null) await ahead.clear();
      for (const { resolve } of told) resolve();
    } catch (error) {
      await forget();
      for (const { reject } of [...told, ...waiters.splice(0)]) reject(diskError(error));
    }
    if (isNewGap || isStuck) tellGap();
    if (have() !== before) hooks.onChange(journal.hasEof);
  }

  async function writeQueue(): Promise<void> {
    const lines = queue;
    queue = [];
    if (lines.length > 0) await journal.append(lines);
    waitingBytes -= sizeOf(lines);
    if (journal.hasEof && !isSynced) {
      await journal.sync();
      isSynced = true;
    }
  }

  async function putAside(): Promise<void> {
    const lines = early;
    early = [];
    // Their turn may have come meanwhile.
    await ahead.add(lines.filter(({ seq }) => seq > taken));
    waitingBytes -= sizeOf(lines);
  }

  /** After a failure: what is not in the journal was never taken. */
  async function forget(): Promise<void> {
    isStuck = true;
    queue = [];
    early = [];
    waitingBytes = 0;
    taken = journal.lastSeq;
    await ahead.reload(taken).catch(() => undefined);
    eof = journal.hasEof ? journal.lastSeq : ahead.eof;
  }

  /** Once for each place at which the journal stands: the recorder then uploads, and a beat repeats it. */
  function tellGap(): void {
    if (gapToldAt === have()) return;
    gapToldAt = have();
    hooks.onChange(true);
  }

  function written(): Promise<void> {
    return new Promise((resolve, reject) => {
      waiters.push({ resolve, reject });
      kick();
    });
  }

  return {
    get have() {
      return have();
    },
    get ended() {
      return journal.hasEof && isSynced;
    },
    get isGivenUp() {
      return givenUpAt !== null;
    },
    take: (line, isAwaited) => {
      if (line.seq <= taken) return true;
      if (eof !== null && line.seq > eof) return false;
      const isNext = line.seq === taken + 1 || givenUpAt !== null;
      if (!isNext) gapSeen = true;
      if (!isNext && ahead.has(line.seq)) return true;
      if (!isAwaited && waitingBytes > HIGH_WATER) {
        gapSeen = true;
        return true;
      }
      waitingBytes += line.bytes.length;
      if (line.isEof) eof = line.seq;
      if (isNext) {
        queue.push(line);
        taken = line.seq;
      } else {
        early.push(line);
      }
      kick();
      return true;
    },
    heardOf: (seq) => {
      if (seq <= taken) return;
      gapSeen = true;
      kick();
    },
    room: async () => {
      while (waitingBytes > HIGH_WATER) await written();
    },
    written,
    giveUp: async () => {
      if (givenUpAt === null) {
        await written();
        givenUpAt = have();
      }
      await written();
    },
  };
}

function sizeOf(lines: readonly NumberedLine[]): number {
  return lines.reduce((sum, { bytes }) => sum + bytes.length, 0);
}
