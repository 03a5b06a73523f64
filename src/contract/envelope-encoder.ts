import { ENVELOPE_TYPES, MAX_LINE_BYTES, type EnvelopeType } from './envelope.ts';

/**
 * Envelopes to lines. The order of keys is fixed, so that a reader finds the payload's text in the line without writing it anew:
 *
 *     {"v":1,"attempt":"…","seq":7,"ts":"2026-11-01T10:00:00.000Z","type":"acp","data":<payload, verbatim>}
 *     {"v":1,"attempt":"…","seq":8,"ts":"…","type":"part","part":{"of":"acp","i":0,"n":3},"data":"<base64>"}
 *     {"v":1,"attempt":"…","seq":8,"ts":"…","type":"hb","data":null}
 *
 * The reader is `envelope-codec.ts`.
 */

export interface EnvelopeInput {
  attempt: string;
  /** The number of the first line; a payload in n parts uses seq .. seq+n-1. */
  seq: number;
  /** UTC with milliseconds. */
  ts: string;
  type: EnvelopeType;
  /** JSON text. Line breaks in it (whitespace between tokens) become blanks; lone surrogates become their escapes. */
  data: string;
}

/** What every line of an attempt begins with. */
export function linePrefix(attempt: string): string {
  return `{"v":1,"attempt":${JSON.stringify(attempt)},"seq":`;
}

/**
 * One event as its lines, each with its LF and at most {@link MAX_LINE_BYTES} bytes long: one line, or as many `part` lines
 * as the payload needs.
 */
export function encodeEnvelope(input: EnvelopeInput): Buffer[] {
  const data = cleanData(input.data);
  const head = linePrefix(input.attempt);
  const line = `${head}${input.seq},"ts":"${input.ts}","type":"${input.type}","data":${data}}\n`;
  // A UTF-16 unit takes 1 to 3 bytes of UTF-8: most lines need no count.
  if (line.length * 3 <= MAX_LINE_BYTES || Buffer.byteLength(line) <= MAX_LINE_BYTES) return [Buffer.from(line)];
  return encodeParts(head, input, Buffer.from(data));
}

/** A sign of life: not numbered, repeats the last number used. */
export function encodeHeartbeat(attempt: string, lastSeq: number, ts: string): Buffer {
  return Buffer.from(`${linePrefix(attempt)}${lastSeq},"ts":"${ts}","type":"hb","data":null}\n`);
}

function encodeParts(head: string, input: EnvelopeInput, payload: Buffer): Buffer[] {
  const before = (seq: number, i: number, n: number) =>
    `${head}${seq},"ts":"${input.ts}","type":"part","part":{"of":"${input.type}","i":${i},"n":${n}},"data":"`;
  // Room for numbers as long as they can get, so that the slices are alike.
  const overhead = Buffer.byteLength(before(Number.MAX_SAFE_INTEGER, payload.length, payload.length)) + '"}\n'.length;
  const slice = Math.floor((MAX_LINE_BYTES - overhead) / 4) * 3;
  const n = Math.ceil(payload.length / slice);
  const lines: Buffer[] = [];
  for (let i = 0; i < n; i += 1) {
    const text = payload.toString('base64', i * slice, (i + 1) * slice);
    lines.push(Buffer.from(`${before(input.seq + i, i, n)}${text}"}\n`, 'utf8'));
  }
  return lines;
}

const LINE_BREAKS = /[\r\n]/g;
const LONE_SURROGATES = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

function cleanData(data: string): string {
  let clean = data;
  // In JSON text a raw CR or LF can only stand between tokens. A CR would end a line for a reader of server-sent events.
  if (clean.includes('\n') || clean.includes('\r')) clean = clean.replace(LINE_BREAKS, ' ');
  if (!clean.isWellFormed()) {
    clean = clean.replace(LONE_SURROGATES, (unit) => `\\u${unit.charCodeAt(0).toString(16)}`);
  }
  return clean;
}

const KNOWN: ReadonlySet<string> = new Set(ENVELOPE_TYPES);

/** Whether a word read from a line is an event's type. */
export function isEnvelopeType(word: string): word is EnvelopeType {
  return KNOWN.has(word);
}
