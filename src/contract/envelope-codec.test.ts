import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createDecoder, encodeEnvelope, encodeHeartbeat, type Decoded, type DecoderOptions } from './envelope-codec.ts';
import { ENVELOPE_TYPES, MAX_LINE_BYTES, envelope, type Envelope, type EnvelopeType } from './envelope.ts';

const attempt = '7b1a6c1e-0a52-4a4e-9d3e-2f6f0c4f9a10';
const ts = '2026-11-01T10:00:00.123Z';

/** A random source that a failing test can repeat. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Sent {
  type: EnvelopeType;
  data: string;
  lines: Buffer[];
  seq: number;
}

function write(payloads: { type: EnvelopeType; data: string }[]): { sent: Sent[]; bytes: Buffer } {
  let seq = 0;
  const sent = payloads.map(({ type, data }) => {
    const lines = encodeEnvelope({ attempt, seq: seq + 1, ts, type, data });
    seq += lines.length;
    return { type, data, lines, seq };
  });
  return { sent, bytes: Buffer.concat(sent.flatMap(({ lines }) => lines)) };
}

/** Feeds bytes in pieces of random lengths; `cursors` are the places a reader could resume from. */
function read(bytes: Buffer, next: (below: number) => number, options: DecoderOptions = {}, most = 9000) {
  const decoder = createDecoder(attempt, options);
  const all: Envelope[] = [];
  const gaps: Decoded['gaps'] = [];
  const problems: string[] = [];
  const cursors: { cursor: number; lastSeq: number; count: number }[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = 1 + next(most);
    // A copy that is overwritten afterwards, as a follower with one buffer does.
    const piece = Buffer.from(bytes.subarray(at, at + length));
    const decoded = decoder.push(piece);
    piece.fill(0);
    all.push(...decoded.envelopes);
    gaps.push(...decoded.gaps);
    problems.push(...decoded.problems);
    cursors.push({ cursor: decoded.cursor, lastSeq: decoder.lastSeq, count: all.length });
    at += length;
  }
  gaps.push(...decoder.finish().gaps);
  return { decoder, all, gaps, problems, cursors };
}

const kinds = [
  (n: number) => 'x'.repeat(n),
  (n: number) => 'é€😀'.repeat(Math.ceil(n / 9)),
  (n: number) => '\u0000\u001b[31m\r\n\t"\\'.repeat(Math.ceil(n / 20)),
  (n: number) => '\u2028\u2029\ufeff'.repeat(Math.ceil(n / 9)),
  (n: number) => '{"v":1,"attempt":"x","seq":1,"type":"eof"}\n'.repeat(Math.ceil(n / 43)),
  (n: number) => '\ud800'.repeat(Math.ceil(n / 6)),
];

describe('round trip', () => {
  test.each([1, 100, 6900, 7 * 1024, 1024 * 1024, 8 * 1024 * 1024])(
    'payloads of about %d bytes come out as they went in',
    (size) => {
      const payloads = kinds.map((make, index) => ({
        type: ENVELOPE_TYPES[index % 6] ?? 'acp',
        data: JSON.stringify({ text: make(size) }),
      }));
      const { sent, bytes } = write(payloads);
      for (const line of sent.flatMap(({ lines }) => lines)) {
        expect(line.length).toBeLessThanOrEqual(MAX_LINE_BYTES);
        expect(line.indexOf(10)).toBe(line.length - 1);
      }
      const { all, gaps, problems } = read(bytes, random(size), {}, size > 10_000 ? 300_000 : 700);
      expect(problems).toEqual([]);
      expect(gaps).toEqual([]);
      expect(all.length).toBe(sent.length);
      all.forEach((event, index) => {
        // Not toEqual: a difference in 8 MiB would be printed.
        expect(event.data === sent[index]?.data).toBe(true);
        expect(event).toMatchObject({
          attempt,
          ts,
          seq: sent[index]?.seq,
          span: sent[index]?.lines.length,
          type: sent[index]?.type,
        });
      });
    },
  );

  test('every line is an envelope by the schema, numbered densely', () => {
    const { bytes } = write([
      { type: 'acp', data: '{"a":1}' },
      { type: 'stderr', data: JSON.stringify({ text: 'y'.repeat(30_000) }) },
      { type: 'note', data: '{}' },
    ]);
    const lines = bytes
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => envelope.parse(JSON.parse(line)));
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, index) => index + 1));
    expect(lines.filter(({ type }) => type === 'part').map(({ part }) => part?.i)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('random payloads, cut anywhere; every cursor gives exactly the later events', () => {
    const next = random(20261101);
    const payloads = Array.from({ length: 120 }, () => ({
      type: ENVELOPE_TYPES[next(6)] ?? 'acp',
      data: JSON.stringify({
        n: next(1e9),
        text: (kinds[next(kinds.length)] ?? kinds[0]!)(next(next(4) === 0 ? 20_000 : 300)),
      }),
    }));
    const { sent, bytes } = write(payloads);
    const { all, cursors, gaps } = read(bytes, next, {}, 3000);
    expect(gaps).toEqual([]);
    expect(all.map(({ data }) => data)).toEqual(sent.map(({ data }) => data));
    for (const { cursor, lastSeq, count } of cursors) {
      expect(cursor === 0 || bytes[cursor - 1] === 10).toBe(true);
      const later = read(bytes.subarray(cursor), next, { offset: cursor, lastSeq });
      expect(later.all.map(({ seq }) => seq)).toEqual(sent.slice(count).map(({ seq }) => seq));
      expect(later.gaps).toEqual([]);
      expect(later.problems).toEqual([]);
      expect(later.decoder.cursor).toBe(bytes.length);
    }
  });

  test('reading again from the start with a last seq gives the later events only', () => {
    const { sent, bytes } = write(
      Array.from({ length: 20 }, (_, n) => ({ type: 'acp' as const, data: JSON.stringify('z'.repeat(n * 1000)) })),
    );
    const { all, gaps } = read(bytes, random(3), { lastSeq: sent[11]!.seq });
    expect(all.map(({ seq }) => seq)).toEqual(sent.slice(12).map(({ seq }) => seq));
    expect(gaps).toEqual([]);
  });

  test('line breaks between tokens become blanks, raw lone surrogates their escapes', () => {
    const { bytes } = write([{ type: 'acp', data: '{\r\n"a":"\ud83d","b":"😀\udc00"}' }]);
    const [event] = read(bytes, random(1)).all;
    expect(event?.data).toBe('{  "a":"\\ud83d","b":"😀\\udc00"}');
  });
});

describe('the end', () => {
  function journal(payloads: { type: EnvelopeType; data: string }[]): { bytes: Buffer; seq: number; eof: string } {
    const { sent, bytes } = write(payloads);
    const seq = (sent.at(-1)?.seq ?? 0) + 1;
    const eof = JSON.stringify({
      lastSeq: seq,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      reason: 'end_turn',
      message: null,
      exit: null,
      timings: { workspace_ms: 1, first_message_ms: null, total_ms: 2 },
    });
    const heartbeat = encodeHeartbeat(attempt, seq - 1, ts);
    return {
      bytes: Buffer.concat([
        heartbeat,
        bytes,
        heartbeat,
        ...encodeEnvelope({ attempt, seq, ts, type: 'eof', data: eof }),
      ]),
      seq,
      eof,
    };
  }
  const payloads = Array.from({ length: 9 }, (_, n) => ({
    type: 'acp' as const,
    data: JSON.stringify('w'.repeat(n * 2000)),
  }));

  test('matches where every line is there; heartbeats are not counted in', () => {
    const { bytes, eof } = journal(payloads);
    const { decoder, all } = read(bytes, random(5));
    expect(all.at(-1)).toMatchObject({ type: 'eof', data: eof });
    expect(decoder.matches(JSON.parse(eof))).toBe(true);
    expect(createDecoder(attempt).push(bytes).heartbeats).toBe(2);
    // From the middle the hash cannot be known.
    const cursor = bytes.indexOf(10) + 1;
    expect(read(bytes.subarray(cursor), random(5), { offset: cursor }).decoder.matches(JSON.parse(eof))).toBe(false);
  });

  test('does not match where a byte is another, or a line is missing', () => {
    const { bytes, eof } = journal(payloads);
    const changed = Buffer.from(bytes);
    changed[bytes.indexOf('wwww') + 2] = 'v'.charCodeAt(0);
    const one = read(changed, random(6));
    expect(one.all.at(-1)?.type).toBe('eof');
    expect(one.decoder.matches(JSON.parse(eof))).toBe(false);

    const lines = bytes.toString().split(/(?<=\n)/);
    const without = read(Buffer.from(lines.toSpliced(2, 1).join('')), random(7));
    expect(without.gaps).toEqual([{ from_seq: 2, to_seq: 2, reason: 'the lines never arrived' }]);
    expect(without.decoder.matches(JSON.parse(eof))).toBe(false);
  });

  test('what stands behind the eof is no event', () => {
    const { bytes, seq } = journal(payloads);
    const late = encodeEnvelope({ attempt, seq: seq + 1, ts, type: 'acp', data: '{}' });
    const { all, problems } = read(Buffer.concat([bytes, ...late]), random(8));
    expect(all.at(-1)?.type).toBe('eof');
    expect(problems).toEqual([`line ${seq + 1} stands behind the eof`]);
  });

  test('an eof without its facts is no end', () => {
    const { all, problems, decoder } = read(write([{ type: 'eof', data: '{"lastSeq":1}' }]).bytes, random(9));
    expect(all).toEqual([]);
    expect(problems).toEqual(['line 1 is an eof that is not valid']);
    expect(decoder.lastSeq).toBe(0);
  });
});

describe('damage', () => {
  const text = (n: number) => JSON.stringify('q'.repeat(n));
  const { sent, bytes } = write([
    { type: 'acp', data: text(10) },
    { type: 'acp', data: text(30_000) },
    { type: 'acp', data: text(20) },
    { type: 'acp', data: text(12_000) },
    { type: 'acp', data: text(30) },
  ]);
  const lines = sent.flatMap((each) => each.lines);

  test('any one line lost: the events it belonged to are named as a gap, all others arrive', () => {
    for (let lost = 0; lost < lines.length - 1; lost += 1) {
      const { all, gaps, cursors } = read(Buffer.concat(lines.toSpliced(lost, 1)), random(lost), {}, 2000);
      const hit = sent.findIndex(({ seq }) => seq >= lost + 1);
      const whole = sent[hit]!;
      expect(all.map(({ seq }) => seq)).toEqual(sent.toSpliced(hit, 1).map(({ seq }) => seq));
      expect(gaps.map(({ from_seq, to_seq }) => [from_seq, to_seq])).toEqual([
        [whole.seq - whole.lines.length + 1, whole.seq],
      ]);
      // Resuming anywhere names the gap exactly once, in the part that has the event behind it.
      const damaged = Buffer.concat(lines.toSpliced(lost, 1));
      for (const { cursor, lastSeq } of cursors) {
        const later = read(damaged.subarray(cursor), random(1), { offset: cursor, lastSeq });
        expect(later.gaps.length).toBe(lastSeq < whole.seq ? 1 : 0);
      }
    }
  });

  test('a line twice is taken once', () => {
    const twice = lines.flatMap((line) => [line, line]);
    const { all, gaps, problems } = read(Buffer.concat(twice), random(2));
    expect(all.map(({ seq }) => seq)).toEqual(sent.map(({ seq }) => seq));
    expect([gaps, problems]).toEqual([[], []]);
  });

  test('a group that never ends is named at the end, and the cursor stays before it', () => {
    const cut = Buffer.concat(lines.slice(0, 4));
    const { gaps, decoder } = read(cut, random(4));
    expect(gaps).toEqual([{ from_seq: 2, to_seq: sent[1]?.seq, reason: 'its last part never arrived' }]);
    expect(decoder.cursor).toBe(lines[0]?.length);
  });

  test('a group that another event interrupts is a gap up to that event', () => {
    const first = encodeEnvelope({ attempt, seq: 1, ts, type: 'acp', data: text(30_000) });
    const event = encodeEnvelope({ attempt, seq: 3, ts, type: 'note', data: '{}' });
    const other = encodeEnvelope({ attempt, seq: 4, ts, type: 'acp', data: text(9000) });
    const again = encodeEnvelope({ attempt, seq: 5, ts, type: 'acp', data: text(9000) });
    const { all, gaps } = read(Buffer.concat([...first.slice(0, 2), ...event, other[0]!, ...again]), random(4));
    expect(all.map(({ seq }) => seq)).toEqual([3, 6]);
    expect(gaps.map(({ from_seq, to_seq }) => [from_seq, to_seq])).toEqual([
      [1, 2],
      [4, 4],
    ]);
  });

  test('a payload beyond the limit is a gap, not memory', () => {
    const { all, gaps } = read(bytes, random(4), { maxBytes: 20_000 });
    expect(all.map(({ seq }) => seq)).toEqual([sent[0], sent[2], sent[3], sent[4]].map((each) => each?.seq));
    expect(gaps).toEqual([{ from_seq: 2, to_seq: sent[1]?.seq, reason: 'a payload is longer than 20000 bytes' }]);
  });

  const good = encodeEnvelope({ attempt, seq: 1, ts, type: 'acp', data: '{"a":1}' })[0]!.toString();
  test.each([
    ['garbage', 'hello\n'],
    ['JSON of another kind', '{"jsonrpc":"2.0"}\n'],
    ['another attempt', good.replace(attempt, attempt.replace('7', '8'))],
    ['no number', good.replace('"seq":1', '"seq":')],
    ['the number 0', good.replace('"seq":1', '"seq":0')],
    ['no time', good.replace(ts, '2026-11-01')],
    ['no data', good.replace(',"data":{"a":1}', '')],
    ['data that is not JSON', good.replace('{"a":1}', '{"a":1')],
    ['a second key behind the data', good.replace('{"a":1}', '{"a":1},"seq":9')],
    ['a part without its place', good.replace('"type":"acp"', '"type":"part"')],
    ['a part that is not base64', good.replace('"type":"acp"', '"type":"part","part":{"of":"acp","i":0,"n":2}')],
    ['bytes that are not UTF-8', Buffer.from(good.replace('{"a":1}', '"\u00ff"'), 'latin1')],
    ['a line that is too long', `${'x'.repeat(3 * MAX_LINE_BYTES)}\n`],
    ['a line that is a little too long', good.replace('{"a":1}', text(MAX_LINE_BYTES - 100))],
  ])('%s is a problem of the transport and a gap, never an event', (_, line) => {
    const after = encodeEnvelope({ attempt, seq: 2, ts, type: 'acp', data: '{"b":2}' });
    for (const most of [7, 5000, 100_000]) {
      const { all, gaps, problems } = read(Buffer.concat([Buffer.from(line), ...after]), random(most), {}, most);
      expect(problems.length).toBe(1);
      expect(all.map(({ seq }) => seq)).toEqual([2]);
      expect(gaps).toEqual([{ from_seq: 1, to_seq: 1, reason: 'the lines never arrived' }]);
    }
  });

  test('a type of a newer recorder, a part out of its group and parts that are not JSON together are named', () => {
    const part = (seq: number, i: number, n: number, of = 'acp', data = 'AAAA') =>
      `${JSON.stringify({ v: 1, attempt, seq, ts, type: 'part', part: { of, i, n }, data })}\n`;
    const damaged = [
      good.replace('"type":"acp"', '"type":"newer"'),
      part(2, 5, 2),
      part(3, 0, 2, 'newer'),
      part(4, 0, 2),
      part(5, 1, 2),
      good.replace('"seq":1', '"seq":6'),
    ].join('');
    const { all, gaps, problems } = read(Buffer.from(damaged), random(1));
    expect(all.map(({ seq }) => seq)).toEqual([6]);
    expect(gaps.map(({ from_seq, to_seq }) => [from_seq, to_seq])).toEqual([[1, 5]]);
    expect(problems.length).toBe(4);
  });
});
