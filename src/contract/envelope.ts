import { z } from 'zod';

/**
 * The envelope: one NDJSON line that carries an event from the agent's side to the server.
 *
 * - `seq` is dense from 1 per attempt. `hb` lines are not numbered: their `seq` repeats the last number used.
 * - A line, LF included, is at most {@link MAX_LINE_BYTES} bytes of UTF-8: kubelets split longer ones.
 * - `data` is the payload's JSON text, verbatim. A payload too long for a line travels as consecutive `part` lines whose
 *   `data` are base64 slices of the payload's UTF-8 bytes; the event takes the seq of its last part.
 */
export const MAX_LINE_BYTES = 7 * 1024;

/** The longest payload that is carried whole (bytes); what is longer is cut with a mark that says how much is missing. */
export const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;

export const ENVELOPE_TYPES = [
  'acp', // a message from the agent, verbatim
  'acp_sent', // a message to the agent, verbatim
  'stderr', // { text } | { base64 }: what the agent printed beside the protocol, a chunk of whole lines
  'unparsed', // { text } | { base64 }: a line on the agent's stdout that is not an ACP message
  'note', // { code, message, … }: the recorder's own words (started, a line cut, a limit near …)
  'result', // the AttemptResult: what the attempt left in its work tree
  'eof', // the Eof, always the last numbered line
] as const;
export type EnvelopeType = (typeof ENVELOPE_TYPES)[number];

export const envelope = z.object({
  v: z.literal(1),
  attempt: z.string(),
  seq: z.int().min(0),
  ts: z.string(),
  type: z.enum([...ENVELOPE_TYPES, 'part', 'hb']),
  /** Only on `part` lines: `of` is the type of the whole, `i` counts from 0 to n-1. */
  part: z.object({ of: z.enum(ENVELOPE_TYPES), i: z.int().min(0), n: z.int().min(2) }).optional(),
  data: z.unknown(),
});

/** A whole payload with its place in the attempt, reassembled from its parts where it came in parts. */
export interface Envelope {
  attempt: string;
  /** The seq of its last (usually only) line. */
  seq: number;
  /** How many lines it took: seq-span+1 .. seq. */
  span: number;
  ts: string;
  type: EnvelopeType;
  /** The payload's JSON text, verbatim, without line breaks. */
  data: string;
}
