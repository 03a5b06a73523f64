import { constants, existsSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { writeAll } from './disk.ts';
import { isLastWord, readLines, type NumberedLine } from './journal-file.ts';

/**
 * Lines that came before their turn: in a file, with an index in memory of the stretches they make. It is a help and no promise:
 * the recorder keeps what is not in the journal. But it is all there is where the recorder dies before the gap is filled.
 */
export interface Ahead {
  /** The lowest number that waits; null = none. */
  readonly first: number | null;
  /** The highest; 0 = none. */
  readonly last: number;
  /** Number of the last word, where that waits. */
  readonly eof: number | null;
  has(seq: number): boolean;
  /** Adds lines, those that are there already left out. */
  add(lines: readonly NumberedLine[]): Promise<void>;
  /** Takes out the next whole lines in order; empty where none waits. They stay in the file until {@link clear}. */
  shift(): Promise<Buffer>;
  /** Finds again what the file holds beyond a number: after a start, and where what was taken out came to nothing. */
  reload(after: number): Promise<void>;
  /** Empties the file, once what it held is in the journal. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** Lines with consecutive numbers that lie one behind the other. */
interface Stretch {
  from: number;
  to: number;
  offset: number;
  bytes: number;
}

const LF = 10;
/** Of what is taken out at once; more than one line. */
const SHIFT_BYTES = 256 * 1024;
/** Beyond so many stretches, lines that would make another are let go: the recorder is asked for them anyway. */
const MAX_STRETCHES = 10_000;

export async function openAhead(path: string, attempt: string, after: number): Promise<Ahead> {
  let file: FileHandle | null = null;
  let size = 0;
  let eof: number | null = null;
  /** In ascending order, never overlapping. */
  let stretches: Stretch[] = [];

  const opened = async (): Promise<FileHandle> =>
    (file ??= await open(path, constants.O_RDWR | constants.O_CREAT, 0o600));

  /** Index of the first stretch that ends at this number or behind it. */
  function find(seq: number): number {
    let low = 0;
    for (let high = stretches.length; low < high;) {
      const middle = (low + high) >>> 1;
      if ((stretches[middle]?.to ?? 0) < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function has(seq: number): boolean {
    const found = stretches[find(seq)];
    return found !== undefined && found.from <= seq;
  }

  /** Notes a line that lies at `offset`; false where there is no room for it in the index. */
  function note(seq: number, offset: number, bytes: number): boolean {
    const at = find(seq);
    const before = stretches[at - 1];
    if (before !== undefined && before.to === seq - 1 && before.offset + before.bytes === offset) {
      before.to = seq;
      before.bytes += bytes;
      return true;
    }
    if (stretches.length >= MAX_STRETCHES) return false;
    stretches.splice(at, 0, { from: seq, to: seq, offset, bytes });
    return true;
  }

  const ahead: Ahead = {
    get first() {
      return stretches[0]?.from ?? null;
    },
    get last() {
      return stretches.at(-1)?.to ?? 0;
    },
    get eof() {
      return eof;
    },
    has,
    add: async (lines) => {
      const fresh: NumberedLine[] = [];
      const numbers = new Set<number>();
      for (const line of lines) {
        if (numbers.has(line.seq) || has(line.seq)) continue;
        numbers.add(line.seq);
        fresh.push(line);
      }
      if (fresh.length === 0) return;
      await writeAll(await opened(), Buffer.concat(fresh.map(({ bytes }) => bytes)), size);
      for (const { seq, bytes, isEof } of fresh) {
        if (note(seq, size, bytes.length) && isEof) eof = seq;
        size += bytes.length;
      }
    },
    shift: async () => {
      const stretch = stretches[0];
      if (stretch === undefined) return Buffer.alloc(0);
      const buffer = Buffer.alloc(Math.min(stretch.bytes, SHIFT_BYTES));
      const { bytesRead } = await (await opened()).read(buffer, 0, buffer.length, stretch.offset);
      const lines = buffer.subarray(0, buffer.lastIndexOf(LF, bytesRead - 1) + 1);
      for (let at = lines.indexOf(LF); at !== -1; at = lines.indexOf(LF, at + 1)) stretch.from += 1;
      stretch.offset += lines.length;
      stretch.bytes -= lines.length;
      // Without a whole line the file is not what it was: what it should have held comes from the recorder.
      if (stretch.bytes === 0 || lines.length === 0) stretches.shift();
      return lines;
    },
    reload: async (beyond) => {
      stretches = [];
      size = 0;
      eof = null;
      if (file === null && !existsSync(path)) return;
      const found = await opened();
      await readLines(found, attempt, (line) => {
        if (typeof line === 'string') return true;
        size = line.end;
        if (line.seq > beyond && line.type !== 'hb' && !has(line.seq)) {
          const isKept = note(line.seq, line.end - line.bytes.length, line.bytes.length);
          if (isKept && isLastWord(line)) eof = line.seq;
        }
        return true;
      });
    },
    clear: async () => {
      eof = null;
      if (size === 0) return;
      await (await opened()).truncate(0);
      size = 0;
    },
    close: async () => {
      await file?.close();
      file = null;
    },
  };
  await ahead.reload(after);
  return ahead;
}
