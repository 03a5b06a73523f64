import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { encodeEnvelope } from '../../src/contract/envelope-codec.ts';
import { now } from '../../src/contract/ids.ts';
import { serve } from '../harness/serve.ts';
import { sampleLine } from '../harness/workshop.ts';

/** A recorder that has nothing to do but write: an attempt's journal, prepared in memory, then appended as fast as the file takes it. */
let journal: Buffer[] = [];
const CHUNK = 64 * 1024;

const handlers = {
  /** Encodes so many lines and the last word. */
  prepare: ({ attempt, lines }: { attempt: string; lines: number }) => {
    const hash = createHash('sha256');
    const data = sampleLine().trim();
    journal = [];
    for (let seq = 1; seq <= lines; seq += 1) {
      for (const line of encodeEnvelope({ attempt, seq, ts: now(), type: 'acp', data })) {
        hash.update(line);
        journal.push(line);
      }
    }
    const eof = {
      lastSeq: lines + 1,
      sha256: hash.digest('hex'),
      reason: 'end_turn',
      message: null,
      exit: null,
      timings: { workspace_ms: null, first_message_ms: null, total_ms: 0 },
    };
    journal.push(...encodeEnvelope({ attempt, seq: lines + 1, ts: now(), type: 'eof', data: JSON.stringify(eof) }));
  },
  write: async ({ path }: { path: string }) => {
    const whole = Buffer.concat(journal);
    journal = [];
    const file = await open(path, 'a');
    for (let at = 0; at < whole.length; at += CHUNK) await file.write(whole.subarray(at, at + CHUNK));
    await file.close();
  },
};
export type JournalWriter = typeof handlers;

serve(handlers);
