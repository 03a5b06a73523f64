import { createHash, type Hash } from 'node:crypto';
import { open, truncate } from 'node:fs/promises';
import { eof as eofSchema, type Eof } from '../../contract/attempt.ts';
import { createLineReader, type Line } from '../../contract/envelope-line.ts';
import { MARK_EVERY, type Mark } from './delivery.ts';

/** What a recorder that died has left: its journal up to the last whole event. */
export interface FoundJournal {
  seq: number;
  bytes: number;
  /** Over all numbered lines, so that it can be gone on with. */
  hash: Hash;
  marks: Mark[];
  /** Its last word, where it had come to that. */
  eof: Eof | null;
  /** Whether the agent had been spoken to: its work tree is made then, and its work may be in it. */
  begun: boolean;
  /** Whether the result is told already. */
  told: boolean;
}

/**
 * Reads a journal that is there, and cuts off what a death has left half written: a piece of a line, or some parts of a payload.
 * Neither was printed or uploaded, because that comes after the write of the whole. Null where there is none, or nothing in it.
 */
export async function findJournal(path: string, attempt: string): Promise<FoundJournal | null> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return null;
  let hash = createHash('sha256');
  const found: Omit<FoundJournal, 'hash'> = {
    seq: 0,
    bytes: 0,
    marks: [{ seq: 1, offset: 0 }],
    eof: null,
    begun: false,
    told: false,
  };
  /** Of a payload in parts, until its last one is read. */
  let held: Hash | null = null;
  let damaged = false;

  function take(line: Line): void {
    if (line.type === 'hb') {
      if (held === null) found.bytes = line.end;
      return;
    }
    if (found.eof !== null) return;
    if (line.type === 'eof') {
      found.eof = eofSchema.parse(JSON.parse(line.data));
    } else {
      held ??= hash.copy();
      held.update(line.bytes);
      if (line.part !== null && line.part.i + 1 < line.part.n) return;
      hash = held;
      held = null;
    }
    const of = line.part?.of ?? line.type;
    found.begun ||= of === 'acp_sent';
    found.told ||= of === 'result';
    found.seq = line.seq;
    found.bytes = line.end;
    const last = found.marks.at(-1);
    if (last !== undefined && line.end - last.offset >= MARK_EVERY)
      found.marks.push({ seq: line.seq + 1, offset: line.end });
  }

  try {
    const reader = createLineReader(attempt, 0);
    for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 256 * 1024 })) {
      reader.read(chunk as Buffer, (line) => {
        // Nothing of ours: what stands behind it cannot be trusted either.
        damaged ||= typeof line === 'string';
        if (!damaged && typeof line !== 'string') take(line);
      });
      if (damaged) break;
    }
    if ((await file.stat()).size > found.bytes) await truncate(path, found.bytes);
  } finally {
    await file.close();
  }
  return found.seq === 0 ? null : { ...found, hash };
}
