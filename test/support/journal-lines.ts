import { createHash } from 'node:crypto';
import { encodeEnvelope, encodeHeartbeat } from '../../src/contract/envelope-codec.ts';

export const TS = '2026-11-28T10:00:00.000Z';

/** A random source that a failing test can repeat: whole numbers below a bound. */
export function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

export interface WrittenJournal {
  /** Each with its LF; the last is the eof. Line n has the number n + 1. */
  lines: Buffer[];
  bytes: Buffer;
}

/** What a recorder writes: `count` lines and the last word, dense and hashed. */
export function writtenJournal(attempt: string, count: number, seed = 1): WrittenJournal {
  const next = seeded(seed);
  const hash = createHash('sha256');
  const lines: Buffer[] = [];
  while (lines.length < count) {
    const size = next(50) === 0 ? next(20_000) : next(300);
    const data = JSON.stringify({ n: lines.length, text: 'é€😀x'.repeat(Math.ceil(size / 10)).slice(0, size) });
    for (const line of encodeEnvelope({ attempt, seq: lines.length + 1, ts: TS, type: 'acp', data })) {
      lines.push(line);
      hash.update(line);
    }
  }
  const lastSeq = lines.length + 1;
  const eof = {
    lastSeq,
    sha256: hash.digest('hex'),
    reason: 'end_turn',
    message: null,
    exit: null,
    timings: { workspace_ms: 1, first_message_ms: 2, total_ms: 3 },
  };
  lines.push(...encodeEnvelope({ attempt, seq: lastSeq, ts: TS, type: 'eof', data: JSON.stringify(eof) }));
  return { lines, bytes: Buffer.concat(lines) };
}

export function heartbeat(attempt: string, lastSeq: number): Buffer {
  return encodeHeartbeat(attempt, lastSeq, TS).subarray(0, -1);
}

/** As the log hands it over: without its LF. */
export function logged(line: Buffer | undefined): Buffer {
  if (line === undefined) throw new Error('There is no such line.');
  return line.subarray(0, -1);
}
