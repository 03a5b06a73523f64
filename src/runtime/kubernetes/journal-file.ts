import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { eof as eofSchema } from '../../contract/attempt.ts';
import { linePrefix } from '../../contract/envelope-encoder.ts';
import { createLineReader, parseLine, type Line } from '../../contract/envelope-line.ts';
import { MAX_LINE_BYTES } from '../../contract/envelope.ts';
import { writeAll } from './disk.ts';

/** A numbered line on its way to a file. */
export interface NumberedLine {
  seq: number;
  /** With its LF. */
  bytes: Buffer;
  isEof: boolean;
}

/** The server's journal of an attempt, as a file: whole lines, appended by one writer. */
export interface JournalFile {
  /** Number of the last line that was written; 0 = none. */
  readonly lastSeq: number;
  /** Whether the last line is the attempt's last word. */
  readonly hasEof: boolean;
  /** Appends in one write. Where it fails, whole lines that were written stay and count, and the rest is as if never tried. */
  append(lines: readonly NumberedLine[]): Promise<void>;
  /** Has the disk confirm what was written. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** As the decoder takes it for the end. */
export function isLastWord(line: Pick<Line, 'type' | 'data'>): boolean {
  return line.type === 'eof' && eofSchema.safeParse(JSON.parse(line.data)).success;
}

/**
 * Makes the journal, or finds it again: a line that was cut at its end is removed, and a last word that the last server may have
 * written just before it died is on the disk.
 */
export async function openJournalFile(path: string, attempt: string): Promise<JournalFile> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const found = await findEnd(file, attempt);
    if ((await file.stat()).size > found.size) await file.truncate(found.size);
    if (found.hasEof) await file.datasync();
    return createJournalFile(file, found);
  } catch (error) {
    await file.close();
    throw error;
  }
}

function createJournalFile(file: FileHandle, { size, lastSeq, hasEof }: End): JournalFile {
  return {
    get lastSeq() {
      return lastSeq;
    },
    get hasEof() {
      return hasEof;
    },
    append: async (lines) => {
      let at = 0;
      let left = 0;
      const count = (written: number): void => {
        left += written;
        for (; at < lines.length && (lines[at]?.bytes.length ?? 0) <= left; at += 1) {
          const line = lines[at];
          if (line === undefined) return;
          left -= line.bytes.length;
          size += line.bytes.length;
          lastSeq = line.seq;
          hasEof = line.isEof;
        }
      };
      try {
        // At its place, not at the file's end: half a line that a full disk left is written over by the same line.
        await writeAll(file, Buffer.concat(lines.map(({ bytes }) => bytes)), size, count);
      } catch (error) {
        await file.truncate(size).catch(() => undefined);
        throw error;
      }
    },
    sync: () => file.datasync(),
    close: () => file.close(),
  };
}

interface End {
  /** Bytes of whole lines. */
  size: number;
  lastSeq: number;
  hasEof: boolean;
}

const LF = 10;

/** Where the whole lines end: read from the file's tail, and only where that is damaged from all of it. */
async function findEnd(file: FileHandle, attempt: string): Promise<End> {
  const { size } = await file.stat();
  const tail = Buffer.alloc(Math.min(size, 2 * MAX_LINE_BYTES));
  const { bytesRead } = await file.read(tail, 0, tail.length, size - tail.length);
  const end = tail.lastIndexOf(LF, bytesRead - 1);
  if (end === -1 && size <= MAX_LINE_BYTES) return { size: 0, lastSeq: 0, hasEof: false };
  const start = end <= 0 ? 0 : tail.lastIndexOf(LF, end - 1) + 1;
  const last = end === -1 ? null : parseLine(linePrefix(attempt), tail.subarray(start, end + 1));
  if (last !== null && last.type !== 'hb')
    return { size: size - tail.length + end + 1, lastSeq: last.seq, hasEof: isLastWord(last) };
  return readThrough(file, attempt);
}

/** The lines from the first on, as long as each is good: after a power cut a file may end in zeros. */
async function readThrough(file: FileHandle, attempt: string): Promise<End> {
  const found: End = { size: 0, lastSeq: 0, hasEof: false };
  let isGood = true;
  await readLines(file, attempt, (line) => {
    isGood &&= typeof line !== 'string' && line.type !== 'hb' && line.seq > found.lastSeq;
    if (!isGood || typeof line === 'string') return isGood;
    found.size = line.end;
    found.lastSeq = line.seq;
    found.hasEof = isLastWord(line);
    return true;
  });
  return found;
}

const READ_BYTES = 256 * 1024;

/** Reads a file's lines a piece at a time, until `each` says false. A line's bytes are only valid during the call. */
export async function readLines(
  file: FileHandle,
  attempt: string,
  each: (line: Line | string) => boolean,
): Promise<void> {
  const reader = createLineReader(attempt, 0);
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  let isWanted = true;
  for (let position = 0; isWanted;) {
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    reader.read(buffer.subarray(0, bytesRead), (line) => {
      isWanted &&= each(line);
    });
  }
}
