import { createHash } from 'node:crypto';
import type { Eof } from '../../src/contract/attempt.ts';
import { encodeEnvelope } from '../../src/contract/envelope-codec.ts';
import type { EnvelopeType } from '../../src/contract/envelope.ts';
import type { EndReason } from '../../src/contract/run.ts';

/** The journal of a recorder that saw an agent say `messages` things: its lines without their LF, the eof last. */
export function journalOf(
  attempt: string,
  { messages = 1, reason = 'end_turn' }: { messages?: number; reason?: EndReason } = {},
): Buffer[] {
  const hash = createHash('sha256');
  const lines: Buffer[] = [];
  let seq = 0;
  const add = (type: EnvelopeType, data: string) => {
    for (const line of encodeEnvelope({ attempt, seq: seq + 1, ts: '2026-11-28T07:00:00.000Z', type, data })) {
      seq += 1;
      if (type !== 'eof') hash.update(line);
      lines.push(line.subarray(0, -1));
    }
  };
  for (let each = 1; each <= messages; each += 1)
    add('acp', JSON.stringify({ jsonrpc: '2.0', method: 'session/update', params: { each } }));
  const eof: Eof = {
    lastSeq: seq + 1,
    sha256: hash.digest('hex'),
    reason,
    message: null,
    exit: null,
    timings: { workspace_ms: null, first_message_ms: null, total_ms: 1 },
  };
  add('eof', JSON.stringify(eof));
  return lines;
}
