import { createHash } from 'node:crypto';
import { eof as eofSchema, type Eof } from './attempt.ts';
import { isEnvelopeType } from './envelope-encoder.ts';
import { MAX_PAYLOAD_BYTES, type Envelope, type EnvelopeType } from './envelope.ts';
import { createLineReader, type Line } from './envelope-line.ts';

export { encodeEnvelope, encodeHeartbeat } from './envelope-encoder.ts';

/** What one call of {@link EnvelopeDecoder.push} found. */
export interface Decoded {
  envelopes: Envelope[];
  /** Sequence numbers that are missing before or between these events. `to_seq` is never null here. */
  gaps: { from_seq: number; to_seq: number | null; reason: string }[];
  /** What is wrong with the transport, in words: unreadable lines, another attempt's lines, lines behind the eof. */
  problems: string[];
  /** Byte offset behind the last complete event: reading on from here, with the last event's seq, gives exactly the later events. */
  cursor: number;
  /** Heartbeats among the lines: the recorder lives. */
  heartbeats: number;
}

export interface EnvelopeDecoder {
  /** Takes the bytes that follow those of the last call. Never throws for what the bytes hold. */
  push(chunk: Buffer): Decoded;
  /** No more bytes will come: what is missing at the end (a group without its last part) is named. */
  finish(): Decoded;
  readonly cursor: number;
  /** Seq of the last event handed over. */
  readonly lastSeq: number;
  /**
   * Whether the events are whole, once the `eof` was handed over: numbers dense, every line readable, and the hash the one that
   * the recorder stated. False as well where the reading did not begin at offset 0: then the hash cannot be known.
   */
  matches(eof: Eof): boolean;
}

export interface DecoderOptions {
  /** Seq of the last event that is known: what has this number or a lower one is read over. Default 0. */
  lastSeq?: number;
  /** Byte offset at which the first chunk begins. Default 0. To verify the hash after a restart, read from 0 with the last seq. */
  offset?: number;
  /** The longest payload that is put together from parts; a longer one becomes a gap. Bytes, default 8 times {@link MAX_PAYLOAD_BYTES}. */
  maxBytes?: number;
}

interface Group {
  of: EnvelopeType;
  first: number;
  n: number;
  slices: Buffer[];
  bytes: number;
}

/** A reader of one attempt's lines. Gaps are named together with the event behind them, so a cursor never separates the two. */
export function createDecoder(attempt: string, options: DecoderOptions = {}): EnvelopeDecoder {
  const maxBytes = options.maxBytes ?? MAX_PAYLOAD_BYTES * 8;
  // A part carries thousands of bytes: so many parts cannot be needed.
  const maxParts = Math.ceil(maxBytes / 1024) + 1;
  const start = options.offset ?? 0;
  const reader = createLineReader(attempt, start);
  const hash = createHash('sha256');
  let hashable = start === 0;
  let cursor = start;
  /** Seq of the last event handed over. */
  let lastSeq = options.lastSeq ?? 0;
  /** Seq of the last numbered line seen. */
  let seen = start === 0 ? 0 : lastSeq;
  let group: Group | null = null;
  /** Lines up to here belong to a group that is broken: they are part of a gap already named. */
  let brokenUntil = 0;
  let waitingGaps: Decoded['gaps'] = [];
  let anyGap = false;
  /** Of all numbered lines before the eof, once that was read. */
  let digest: string | null = null;
  let ended = false;

  function miss(from: number, to: number, reason: string): void {
    anyGap = true;
    const first = Math.max(from, lastSeq + 1);
    if (first > to) return;
    const last = waitingGaps.at(-1);
    if (last !== undefined && (last.to_seq ?? 0) + 1 >= first) {
      last.to_seq = Math.max(last.to_seq ?? 0, to);
    } else {
      waitingGaps.push({ from_seq: first, to_seq: to, reason });
    }
  }

  /** Gives up the group whose parts are being collected, because of a line, or at the end (null). */
  function dropGroup(reason: string, because: Line | null): void {
    if (group === null) return;
    const last = group.first + group.n - 1;
    const ofIt = because === null || (because.part !== null && because.seq - because.part.i === group.first);
    const until = ofIt ? last : Math.min(last, because.seq - 1);
    miss(group.first, until, reason);
    brokenUntil = Math.max(brokenUntil, until);
    group = null;
  }

  function hand(out: Decoded, line: Line, type: EnvelopeType, data: string, span: number): void {
    if (waitingGaps.length > 0) {
      // A gap ends before the event at the latest, whatever a damaged part said of its group's length.
      const before = line.seq - span;
      out.gaps.push(...waitingGaps.map((gap) => ({ ...gap, to_seq: Math.min(gap.to_seq ?? before, before) })));
      waitingGaps = [];
      brokenUntil = 0;
    }
    if (line.seq > lastSeq) {
      out.envelopes.push({ attempt, seq: line.seq, span, ts: line.ts, type, data });
      lastSeq = line.seq;
    }
    cursor = line.end;
  }

  function takePart(out: Decoded, line: Line): void {
    const part = line.part;
    // An eof always fits its line: one in parts is not the recorder's.
    if (part === null || part.i >= part.n || part.n > maxParts || !isEnvelopeType(part.of) || part.of === 'eof') {
      out.problems.push(`line ${line.seq} is a part without its place`);
      miss(line.seq, line.seq, 'a part without its place');
      return;
    }
    if (part.i === 0) {
      dropGroup('a part is missing', line);
      group = { of: part.of, first: line.seq, n: part.n, slices: [], bytes: 0 };
    }
    if (group === null || part.i !== group.slices.length || part.n !== group.n || part.of !== group.of) {
      dropGroup('a part is missing', line);
      const first = line.seq - part.i;
      brokenUntil = Math.max(brokenUntil, first + part.n - 1);
      miss(first, brokenUntil, 'a part is missing');
      return;
    }
    const slice = Buffer.from(line.data.slice(1, -1), 'base64');
    group.bytes += slice.length;
    if (group.bytes > maxBytes) {
      dropGroup(`a payload is longer than ${maxBytes} bytes`, line);
      return;
    }
    group.slices.push(slice);
    if (group.slices.length < group.n) return;
    const whole = group;
    group = null;
    if (line.seq <= lastSeq) {
      hand(out, line, whole.of, '', whole.n);
      return;
    }
    const data = Buffer.concat(whole.slices).toString('utf8');
    if (isJson(data)) {
      hand(out, line, whole.of, data, whole.n);
      return;
    }
    out.problems.push(`the parts that end with line ${line.seq} are not JSON together`);
    miss(whole.first, line.seq, 'not JSON');
  }

  function take(out: Decoded, line: Line): void {
    if (line.type === 'hb') {
      out.heartbeats += 1;
      if (group === null && waitingGaps.length === 0) cursor = line.end;
      return;
    }
    if (ended) {
      out.problems.push(`line ${line.seq} stands behind the eof`);
      return;
    }
    // The same line again (written twice, or sent twice): known.
    if (line.seq <= seen) return;
    if (line.seq > seen + 1) {
      dropGroup('a part is missing', line);
      if (line.seq - 1 > brokenUntil) miss(Math.max(seen, brokenUntil) + 1, line.seq - 1, 'the lines never arrived');
    }
    seen = line.seq;
    const isEof = line.type === 'eof';
    if (hashable && !isEof) hash.update(line.bytes);
    if (line.type === 'part') {
      if (line.seq > brokenUntil) takePart(out, line);
      return;
    }
    dropGroup('a part is missing', line);
    if (line.type === 'unknown') {
      out.problems.push(`line ${line.seq} has a type that is not known here`);
      miss(line.seq, line.seq, 'an unknown type');
      return;
    }
    if (!isEof) {
      hand(out, line, line.type, line.data, 1);
      return;
    }
    const parsed = eofSchema.safeParse(JSON.parse(line.data));
    if (!parsed.success) {
      out.problems.push(`line ${line.seq} is an eof that is not valid`);
      miss(line.seq, line.seq, 'not a valid eof');
      return;
    }
    ended = true;
    if (hashable) digest = hash.digest('hex');
    hand(out, line, 'eof', line.data, 1);
  }

  function empty(): Decoded {
    return { envelopes: [], gaps: [], problems: [], cursor, heartbeats: 0 };
  }

  return {
    push: (chunk) => {
      const out = empty();
      reader.read(chunk, (line) => {
        if (typeof line === 'string') {
          out.problems.push(line);
          // Whatever it was, the hash cannot be right any more.
          anyGap = true;
          hashable = false;
        } else {
          take(out, line);
        }
      });
      out.cursor = cursor;
      return out;
    },
    finish: () => {
      const out = empty();
      dropGroup('its last part never arrived', null);
      out.gaps.push(...waitingGaps);
      waitingGaps = [];
      return out;
    },
    get cursor() {
      return cursor;
    },
    get lastSeq() {
      return lastSeq;
    },
    matches: (eof) => ended && !anyGap && digest === eof.sha256 && eof.lastSeq === seen,
  };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
