import { isUtf8 } from 'node:buffer';
import { isEnvelopeType, linePrefix } from './envelope-encoder.ts';
import { MAX_LINE_BYTES, type EnvelopeType } from './envelope.ts';

/** One line, checked and taken apart. */
export interface Line {
  seq: number;
  ts: string;
  /** `unknown` = a well-formed line with a type of a newer recorder. */
  type: EnvelopeType | 'part' | 'hb' | 'unknown';
  part: { of: string; i: number; n: number } | null;
  /** JSON text. */
  data: string;
  /** The line itself with its LF. Only valid during the callback. */
  bytes: Buffer;
  /** Byte offset behind its LF. */
  end: number;
}

export interface LineReader {
  /** Splits on LF bytes only and hands over each line in order, or a string that says why it cannot be read. A last line without LF waits. */
  read(chunk: Buffer, each: (line: Line | string) => void): void;
}

const LF = 10;
const QUOTE = 34;
/** `"ts":"` with its comma, a time in UTC with milliseconds, and what follows it. */
const TIME = ',"ts":"';
const TIME_LENGTH = 24;
const AFTER_TIME = '","type":"';
const PART = /^,"part":\{"of":"([a-z_]+)","i":(\d{1,9}),"n":(\d{1,9})\}/;
const BASE64 = /^"[A-Za-z0-9+/]+={0,2}"$/;

/**
 * A reader of one attempt's lines.
 *
 * @param offset byte offset of the first chunk's first byte
 */
export function createLineReader(attempt: string, offset: number): LineReader {
  const prefix = linePrefix(attempt);
  /** Begin of a line whose LF has not come yet. */
  let rest: Buffer[] = [];
  let restBytes = 0;
  /** Reading over the rest of a line that is too long. */
  let skipping = false;
  let position = offset;

  function parse(bytes: Buffer, valid: boolean): Line | string {
    const where = `the line at byte ${position - bytes.length}`;
    if (bytes.length > MAX_LINE_BYTES) return `${where} is longer than ${MAX_LINE_BYTES} bytes`;
    if (!valid && !isUtf8(bytes)) return `${where} is not UTF-8`;
    const text = bytes.toString('utf8', 0, bytes.length - 1);
    if (!text.startsWith(prefix)) return `${where} is not an envelope of this attempt`;
    const line = parseText(text, prefix.length);
    if (line === null) return `${where} is not a valid envelope`;
    line.bytes = bytes;
    line.end = position;
    return line;
  }

  return {
    read: (chunk, each) => {
      const valid = restBytes === 0 && isUtf8(chunk);
      let from = 0;
      for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, from)) {
        const piece = chunk.subarray(from, at + 1);
        position += piece.length;
        from = at + 1;
        if (skipping) {
          skipping = false;
        } else if (restBytes > 0) {
          const whole = Buffer.concat([...rest, piece]);
          rest = [];
          restBytes = 0;
          each(parse(whole, false));
        } else {
          each(parse(piece, valid));
        }
      }
      if (from === chunk.length) return;
      const tail = chunk.subarray(from);
      position += tail.length;
      if (skipping) return;
      restBytes += tail.length;
      if (restBytes > MAX_LINE_BYTES) {
        each(`the line at byte ${position - restBytes} is longer than ${MAX_LINE_BYTES} bytes`);
        rest = [];
        restBytes = 0;
        skipping = true;
      } else {
        // A copy: the caller may use its buffer again.
        rest.push(Buffer.from(tail));
      }
    },
  };
}

/**
 * One line by itself, its LF included; null where it is not an envelope of this attempt as the encoder writes it.
 *
 * @param prefix see `linePrefix`
 */
export function parseLine(prefix: string, bytes: Buffer): Line | null {
  if (bytes.length > MAX_LINE_BYTES || bytes.indexOf(LF) !== bytes.length - 1 || !isUtf8(bytes)) return null;
  const text = bytes.toString('utf8', 0, bytes.length - 1);
  const line = text.startsWith(prefix) ? parseText(text, prefix.length) : null;
  if (line === null) return null;
  line.bytes = bytes;
  line.end = bytes.length;
  return line;
}

/** What stands behind the prefix, null where it is not what the encoder writes. */
function parseText(text: string, start: number): Line | null {
  let at = start;
  let seq = 0;
  for (let digit = text.charCodeAt(at) - 48; digit >= 0 && digit <= 9; digit = text.charCodeAt(at) - 48) {
    seq = seq * 10 + digit;
    at += 1;
  }
  if (at === start || at - start > 15 || !text.startsWith(TIME, at)) return null;
  at += TIME.length;
  const ts = text.slice(at, at + TIME_LENGTH);
  at += TIME_LENGTH;
  if (!text.startsWith(AFTER_TIME, at) || ts.charCodeAt(10) !== 84 || ts.charCodeAt(23) !== 90) return null;
  at += AFTER_TIME.length;
  const close = text.indexOf('"', at);
  const word = text.slice(at, close);
  at = close + 1;
  let part: Line['part'] = null;
  if (word === 'part') {
    const found = PART.exec(text.slice(at, at + 80));
    if (found === null) return null;
    part = { of: found[1] ?? '', i: Number(found[2]), n: Number(found[3]) };
    at += found[0].length;
  }
  if (!text.startsWith(',"data":', at) || !text.endsWith('}')) return null;
  const data = text.slice(at + ',"data":'.length, -1);
  const type = word === 'part' || word === 'hb' || isEnvelopeType(word) ? word : 'unknown';
  // Numbers count from 1; only a heartbeat may come before the first.
  if (seq === 0 && type !== 'hb') return null;
  if (part !== null) {
    if (data.charCodeAt(0) !== QUOTE || !BASE64.test(data)) return null;
  } else {
    try {
      JSON.parse(data);
    } catch {
      return null;
    }
  }
  return { seq, ts, type, part, data, bytes: NOTHING, end: 0 };
}

const NOTHING = Buffer.alloc(0);
