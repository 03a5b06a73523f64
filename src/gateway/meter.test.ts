import { describe, expect, test } from 'vitest';
import type { Dialect } from './dialect.ts';
import { createMeter } from './meter.ts';
import type { Metered } from './usage.ts';

function meter(dialect: Dialect, stream: boolean, bytes: Buffer, cuts: number[] = []): Metered {
  const tap = createMeter(dialect, stream);
  let from = 0;
  for (const cut of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
    tap.feed(bytes.subarray(from, cut));
    from = cut;
  }
  return tap.end();
}

const event = (data: unknown, name = ''): string =>
  `${name === '' ? '' : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`;

const anthropicStream = [
  event(
    {
      type: 'message_start',
      message: {
        usage: {
          input_tokens: 1200,
          output_tokens: 1,
          cache_read_input_tokens: 300,
          cache_creation_input_tokens: 50,
          cache_creation: { ephemeral_1h_input_tokens: 20 },
          service_tier: 'standard',
        },
      },
    },
    'message_start',
  ),
  ': a comment\n\n',
  event(
    { type: 'content_block_delta', delta: { text: '日本語 "usage": {"output_tokens": 9}\n\n𝔘 é' } },
    'content_block_delta',
  ),
  event({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 85 } }, 'message_delta'),
  event({ type: 'message_stop' }, 'message_stop'),
];
const anthropicUsage = { input: 1200, output: 85, cacheRead: 300, cacheWrite: 50, cacheWriteHour: 20, beyond: null };

const openaiStream = [
  event({ choices: [{ delta: { content: '日本語 𝔘' }, finish_reason: null }], usage: null }),
  event({ choices: [{ delta: {}, finish_reason: 'stop' }], usage: null }),
  event({
    choices: [],
    usage: { prompt_tokens: 1500, completion_tokens: 85, prompt_tokens_details: { cached_tokens: 300 } },
  }),
  'data: [DONE]\n\n',
];
const openaiUsage = { input: 1200, output: 85, cacheRead: 300, cacheWrite: null, cacheWriteHour: null, beyond: null };

const responsesStream = [
  event({ type: 'response.created', response: { status: 'in_progress', usage: null } }, 'response.created'),
  event(
    { type: 'response.output_text.delta', delta: '日本語 𝔘 "usage":{"output_tokens":9}' },
    'response.output_text.delta',
  ),
  event(
    {
      type: 'response.completed',
      response: {
        status: 'completed',
        service_tier: 'default',
        output: [{ type: 'reasoning' }, { type: 'message' }],
        usage: { input_tokens: 1500, output_tokens: 85, input_tokens_details: { cached_tokens: 300 } },
      },
    },
    'response.completed',
  ),
];

const geminiStream = [
  event({ candidates: [{ content: { parts: [{ text: '日本語 𝔘' }] } }], usageMetadata: { promptTokenCount: 1400 } }),
  event({
    candidates: [{ content: { parts: [] }, finishReason: 'STOP' }],
    usageMetadata: {
      promptTokenCount: 1400,
      toolUsePromptTokenCount: 100,
      cachedContentTokenCount: 300,
      candidatesTokenCount: 60,
      thoughtsTokenCount: 25,
      trafficType: 'ON_DEMAND',
    },
  }),
];

/** mulberry32: a small generator with a seed, so that a failure can be had again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe.each([
  ['anthropic', anthropicStream, anthropicUsage],
  ['openai', openaiStream, openaiUsage],
  ['responses', responsesStream, openaiUsage],
  ['gemini', geminiStream, openaiUsage],
] as const)('%s stream', (dialect, events, usage) => {
  const expected = { usage, complete: true, error: null };

  test.each(['\n', '\r\n', '\r'])('is metered wherever one chunk ends, with line ends %j', (lineEnd) => {
    const bytes = Buffer.from(events.join('').replaceAll('\n', lineEnd));
    for (let cut = 0; cut <= bytes.length; cut++) expect(meter(dialect, true, bytes, [cut])).toEqual(expected);
    expect(
      meter(
        dialect,
        true,
        bytes,
        Array.from(bytes, (_, index) => index),
      ),
    ).toEqual(expected);
  });

  test('is metered in random chunks', () => {
    const next = random(20_260);
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(events.join('').replaceAll('\n', ['\n', '\r\n', '\r'][round % 3] ?? '\n'));
      const cuts = Array.from({ length: Math.floor(next() * 40) }, () => Math.floor(next() * bytes.length));
      expect(meter(dialect, true, bytes, cuts), `round ${round}, cuts ${cuts.join()}`).toEqual(expected);
    }
  });

  test('that is cut says what is known and null for the rest', () => {
    const upTo = (count: number): Metered => meter(dialect, true, Buffer.from(events.slice(0, count).join('')));
    const early = upTo(1);
    expect(early.complete).toBe(false);
    expect(early.usage.output).toBeNull();
    expect(early.usage.input).toBe({ anthropic: 1200, openai: null, responses: null, gemini: 1400 }[dialect]);
    expect(meter(dialect, true, Buffer.alloc(0)).usage).toMatchObject({ input: null, output: null, cacheRead: null });
  });
});

describe('metering', () => {
  test('takes the usage of bodies that are no stream', () => {
    const anthropic = { type: 'message', usage: { input_tokens: 3, output_tokens: 4 } };
    expect(meter('anthropic', false, Buffer.from(JSON.stringify(anthropic)), [5, 9])).toEqual({
      usage: { input: 3, output: 4, cacheRead: null, cacheWrite: null, cacheWriteHour: null, beyond: null },
      complete: true,
      error: null,
    });
    const openai = { choices: [], usage: { prompt_tokens: 7, completion_tokens: 2 } };
    expect(meter('openai', false, Buffer.from(JSON.stringify(openai)))).toMatchObject({
      usage: { input: 7, output: 2, cacheRead: null },
      complete: true,
    });
    expect(meter('openai', false, Buffer.from('{"cut'))).toMatchObject({
      usage: { input: null, output: null },
      complete: false,
    });
  });

  test('believes the larger of two cumulative counts', () => {
    const events = [
      event({ type: 'message_start', message: { usage: { input_tokens: 0 } } }),
      event({ type: 'message_delta', usage: { input_tokens: 40, output_tokens: 5 } }),
      event({ type: 'message_delta', usage: { input_tokens: 0, output_tokens: 9 } }),
    ];
    expect(meter('anthropic', true, Buffer.from(events.join(''))).usage).toMatchObject({
      input: 40,
      output: 9,
      cacheRead: null,
    });
  });

  test('does not take a running count of a stream that was cut for its result', () => {
    const events = event({ choices: [{ finish_reason: null }], usage: { prompt_tokens: 10, completion_tokens: 3 } });
    expect(meter('openai', true, Buffer.from(events)).usage).toMatchObject({ input: 10, output: null });
  });

  test('takes no count that is none', () => {
    const body = { type: 'message', usage: { input_tokens: -3, output_tokens: 'many', cache_read_input_tokens: 1e12 } };
    expect(meter('anthropic', false, Buffer.from(JSON.stringify(body))).usage).toMatchObject({
      input: null,
      output: null,
      cacheRead: null,
    });
    expect(
      meter('openai', true, Buffer.from('data: nonsense\n\ndata: [1]\n\ndata: {"usage":7}\n\n')).usage.input,
    ).toBeNull();
  });

  test('names what no table prices', () => {
    const search = {
      type: 'message',
      usage: { input_tokens: 1, output_tokens: 1, server_tool_use: { web_search_requests: 2 } },
    };
    expect(meter('anthropic', false, Buffer.from(JSON.stringify(search))).usage.beyond).toBe('web search');
    const fast = { type: 'message', usage: { input_tokens: 1, output_tokens: 1, speed: 'fast' } };
    expect(meter('anthropic', false, Buffer.from(JSON.stringify(fast))).usage.beyond).toBe('speed fast');
    const called = { status: 'completed', output: [{ type: 'web_search_call' }], usage: {} };
    expect(meter('responses', false, Buffer.from(JSON.stringify(called))).usage.beyond).toBe('web search');
    const done = event({ type: 'response.output_item.done', item: { type: 'code_interpreter_call' } });
    expect(meter('responses', true, Buffer.from(done)).usage.beyond).toBe('code interpreter');
    const grounded = { candidates: [{ finishReason: 'STOP', groundingMetadata: {} }] };
    expect(meter('gemini', false, Buffer.from(JSON.stringify(grounded))).usage.beyond).toBe('search');
    const reserved = { candidates: [], usageMetadata: { trafficType: 'PROVISIONED_THROUGHPUT' } };
    expect(meter('gemini', false, Buffer.from(JSON.stringify(reserved))).usage.beyond).toContain('PROVISIONED');
    const tier = { service_tier: 'priority', usage: { prompt_tokens: 1, completion_tokens: 1 } };
    expect(meter('openai', false, Buffer.from(JSON.stringify(tier))).usage.beyond).toBe('service tier priority');
  });

  test('takes what the makers say of whole answers, and of blocked ones', () => {
    const response = { object: 'response', status: 'incomplete', usage: { input_tokens: 7, output_tokens: 2 } };
    expect(meter('responses', false, Buffer.from(JSON.stringify(response)))).toMatchObject({
      usage: { input: 7, output: 2, cacheRead: null },
      complete: true,
    });
    const written = { input_tokens: 9, input_tokens_details: { cached_tokens: 2, cache_write_tokens: 3 } };
    expect(
      meter('responses', false, Buffer.from(JSON.stringify({ status: 'completed', usage: written }))).usage,
    ).toMatchObject({ input: 4, cacheRead: 2, cacheWrite: 3 });
    const blocked = { promptFeedback: { blockReason: 'SAFETY' }, usageMetadata: { promptTokenCount: 9 } };
    expect(meter('gemini', false, Buffer.from(JSON.stringify(blocked)))).toMatchObject({
      usage: { input: 9, output: 0 },
      complete: true,
    });
  });

  test('hears errors within a stream', () => {
    const overloaded = event({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }, 'error');
    expect(meter('anthropic', true, Buffer.from(overloaded)).error).toBe('overloaded_error: Overloaded');
    expect(meter('openai', true, Buffer.from(event({ error: { message: 'no' } }))).error).toBe('no');
    const failed = { status: 'failed', error: { code: 'server_error', message: 'no' } };
    const failure = event({ type: 'response.failed', response: failed });
    expect(meter('responses', true, Buffer.from(failure)).error).toBe('server_error: no');
    expect(meter('responses', true, Buffer.from(event({ type: 'error', message: 'no' }))).error).toBe('no');
    const unavailable = event({ error: { code: 503, status: 'UNAVAILABLE', message: 'no' } });
    expect(meter('gemini', true, Buffer.from(unavailable)).error).toBe('UNAVAILABLE: no');
    expect(meter('openai', true, Buffer.from(event({ error: 'bad' }))).error).toBe('bad');
    expect(meter('anthropic', true, Buffer.from(event({ type: 'error' }))).error).toBe('an error without a word');
  });

  test('knows where an event ends', () => {
    const tap = createMeter('openai', true);
    expect(tap.atBoundary()).toBe(true);
    tap.feed(Buffer.from('data: x'));
    expect(tap.atBoundary()).toBe(false);
    tap.feed(Buffer.from('\n'));
    tap.feed(Buffer.from('\n'));
    expect(tap.atBoundary()).toBe(true);
    tap.feed(Buffer.from('data: x\r\n\r\n'));
    expect(tap.atBoundary()).toBe(true);
  });

  test('passes over an event or a body that is too large to read, without keeping it', () => {
    const piece = Buffer.alloc(1024 * 1024, 'x');
    for (const stream of [true, false]) {
      const tap = createMeter('openai', stream);
      tap.feed(Buffer.from(stream ? 'data: ' : '{"a":"'));
      for (let size = 0; size < 40; size++) tap.feed(piece);
      tap.feed(Buffer.from(stream ? `\n\n${openaiStream.join('')}` : '"}'));
      expect(tap.end()).toMatchObject({ usage: { input: null, output: null }, complete: false });
    }
  });
});
