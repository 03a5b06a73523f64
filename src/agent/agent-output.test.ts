import { createHash } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { until } from '../../test/support/until.ts';
import { MAX_PAYLOAD_BYTES } from '../contract/envelope.ts';
import { createAgentOutput, type JsonRpcMessage, type OutputOptions } from './agent-output.ts';
import type { Journal } from './journal.ts';

/** A journal in memory that can be full. */
function memory() {
  const written: { type: string; data: string }[] = [];
  let room: (() => void) | null = null;
  const state = {
    written,
    full: false,
    free: () => {
      state.full = false;
      room?.();
    },
    notes: () =>
      written
        .filter(({ type }) => type === 'note')
        .map(
          ({ data }) =>
            JSON.parse(data) as {
              code: string;
              kept_bytes: number;
              dropped_bytes: number;
              text?: string;
              base64?: string;
            },
        ),
  };
  const journal: Journal = {
    bytes: 0,
    seq: 0,
    get full() {
      return state.full;
    },
    append: (type, data) => void written.push({ type, data }),
    note: (code, message, facts) =>
      void written.push({ type: 'note', data: JSON.stringify({ code, message, ...facts }) }),
    heartbeat: () => undefined,
    drained: () =>
      new Promise((resolve) => {
        room = resolve;
      }),
    close: () => Promise.reject(new Error('not here')),
  };
  return { state, journal };
}

function output(more: Partial<OutputOptions> = {}) {
  const { state, journal } = memory();
  const messages: JsonRpcMessage[] = [];
  const limits: number[] = [];
  const out = createAgentOutput({
    journal,
    maxBytes: 2 ** 30,
    onMessage: (message) => messages.push(message),
    onLimit: () => limits.push(out.counts.bytes),
    ready: () => null,
    ...more,
  });
  return { out, state, messages, limits };
}

const message = (text: string): string =>
  `{"jsonrpc":"2.0","method":"session/update","params":${JSON.stringify(text)}}`;

test('a line of the longest length is kept byte for byte, a longer one is cut and never held', async () => {
  const { out, state } = output();
  const longest = message('x'.repeat(MAX_PAYLOAD_BYTES - message('').length));
  expect(longest.length).toBe(MAX_PAYLOAD_BYTES);
  const piece = Buffer.alloc(1024 * 1024, 'é');
  function* print(): Generator<Buffer> {
    yield Buffer.from(`${longest}\n`);
    for (let n = 0; n < 200; n += 1) yield piece;
    yield Buffer.from(`\n${message('next')}\n`);
  }
  await out.read(Readable.from(print(), { objectMode: false }), Readable.from([]));
  expect(state.written.map(({ type }) => type)).toEqual(['acp', 'note', 'acp']);
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
  expect(hash(state.written[0]!.data)).toBe(hash(longest));
  const [cut] = state.notes();
  expect(cut).toMatchObject({ code: 'line_cut', kept_bytes: 65_536, dropped_bytes: 200 * piece.length - 65_536 });
  expect(cut?.text).toBe('é'.repeat(32_768));
  expect(state.written[2]?.data).toBe(message('next'));
});

test('a cut line that is not UTF-8 keeps its bytes', async () => {
  const { out, state } = output();
  await out.read(Readable.from([Buffer.alloc(MAX_PAYLOAD_BYTES + 1, 0xff)], { objectMode: false }), Readable.from([]));
  const [cut] = state.notes();
  expect(Buffer.from(cut?.base64 ?? '', 'base64').equals(Buffer.alloc(65_536, 0xff))).toBe(true);
});

test('a line that only its escapes make too long is cut as well', async () => {
  const { out, state } = output();
  const line = '\u0001'.repeat(MAX_PAYLOAD_BYTES / 4);
  await out.read(Readable.from([Buffer.from(line)], { objectMode: false }), Readable.from([]));
  expect(state.notes()).toMatchObject([{ code: 'line_cut', kept_bytes: 65_536, dropped_bytes: line.length - 65_536 }]);
  expect(out.counts.unparsed).toBe(1);
});

test('nothing is read while the journal is full, or the agent does not take our answers', async () => {
  const held = Promise.withResolvers<void>();
  let busy = false;
  const { out, state } = output({ ready: () => (busy ? held.promise : null) });
  const stdout = new PassThrough({ highWaterMark: 10 });
  const reading = out.read(stdout, Readable.from([]));
  state.full = true;
  stdout.write(`${message('one')}\n`);
  await until(() => state.written.length === 1);
  stdout.write(`${message('two')}\n`);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(state.written.length).toBe(1);
  busy = true;
  state.free();
  stdout.write(`${message('three')}\n`);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(state.written.length).toBe(1);
  busy = false;
  held.resolve();
  stdout.end();
  await reading;
  expect(state.written.map(({ data }) => data)).toEqual([message('one'), message('two'), message('three')]);
});

test('behind the limit only answers count, a few of them; the rest is counted and let go', async () => {
  const { out, state, messages, limits } = output({ maxBytes: 100 });
  const answer = '{"jsonrpc":"2.0","id":1,"result":{}}';
  const lines = [
    'x'.repeat(100),
    message('flood'),
    'garbage',
    `\u00ff${'y'.repeat(9 * 1024 * 1024)}`,
    ...Array.from({ length: 20 }, () => answer),
  ];
  await out.read(
    Readable.from([Buffer.from(`${lines.join('\n')}\n`)], { objectMode: false }),
    Readable.from([Buffer.from(`late\n${'z'.repeat(20_000)}\n`)], { objectMode: false }),
  );
  expect(limits.length).toBe(1);
  expect(messages.length).toBe(16);
  expect(state.written.filter(({ type }) => type !== 'acp')).toEqual([]);
  expect(out.counts.dropped).toBeGreaterThan(9 * 1024 * 1024);
  expect(out.stderrTail()).toBe('z'.repeat(2047 - 512));
});

test('a pipe that breaks is an end: what had come is kept', async () => {
  const { out, state } = output();
  const stdout = new PassThrough();
  const reading = out.read(stdout, Readable.from([]));
  stdout.write(`${message('one')}\n${message('no line break')}`);
  await until(() => state.written.length === 1);
  stdout.destroy(new Error('EIO'));
  await reading;
  expect(state.written.map(({ data }) => data)).toEqual([message('one'), message('no line break')]);
});
