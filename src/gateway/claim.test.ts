import { expect, test } from 'vitest';
import { requestOf, routeAt, type Asked } from '../../test/support/gateway.ts';
import type { Dialect } from './dialect.ts';
import { claimOf } from './claim.ts';
import { readModelRequest } from './model-request.ts';
import { createPrices } from './prices.ts';

const prices = createPrices({
  'p/priced': { input: 3_000_000, output: 15_000_000, cache_write: 3_750_000, cache_write_hour: 6_000_000 },
  'p/known': { input: 1_000_000, output: 2_000_000, max_output_tokens: 1000, context_tokens: 200_000 },
});

const PREAMBLE = 1024;

function claim(dialect: Dialect, asked: Asked, model = 'known') {
  const { path, body } = requestOf(dialect, asked);
  const route = routeAt(path);
  const bytes = Buffer.from(body);
  const target = {
    providerName: 'p',
    model,
    provider: { kind: 'scripted', baseUrl: '', key: null, keyFrom: null, keyNeeded: false },
  } as const;
  const {
    model: fullName,
    tokens,
    microdollars,
  } = claimOf(
    {
      route,
      target,
      fullName: `p/${model}`,
      asked: readModelRequest(bytes, route),
      size: bytes.length,
      body: bytes,
      query: '',
      clientHeaders: {},
    },
    prices,
  );
  expect(fullName).toBe(`p/${model}`);
  const input = bytes.length + PREAMBLE;
  return { input, output: tokens - input, microdollars };
}

test.each<[string, Dialect, Asked, number]>([
  ['the request says', 'anthropic', { max_tokens: 500 }, 500],
  ['thoughts may be longer', 'anthropic', { max_tokens: 100, thinking: { type: 'enabled', budget_tokens: 600 } }, 600],
  ['the model cannot say more', 'anthropic', { max_tokens: 1e9 }, 1000],
  ['the older of two names', 'openai', { max_tokens: 500 }, 500],
  ['the larger of two names', 'openai', { max_tokens: 500, max_completion_tokens: 700 }, 700],
  ['several answers', 'openai', { max_tokens: 500, n: 3 }, 1500],
  ['nothing is said', 'openai', {}, 1000],
  ['nonsense is said', 'openai', { max_tokens: -5, max_completion_tokens: null }, 1000],
  ['nonsense is said', 'responses', { max_output_tokens: {} }, 1000],
  ['the request says', 'responses', { max_output_tokens: 300 }, 300],
  ['the request says', 'gemini', { generationConfig: { maxOutputTokens: 300, candidateCount: 2 } }, 600],
  ['the other spelling', 'gemini', { generation_config: { max_output_tokens: '300' } }, 300],
  [
    'both spellings',
    'gemini',
    { generationConfig: { maxOutputTokens: 1 }, generation_config: { maxOutputTokens: 400 } },
    400,
  ],
])('%s how long an answer may be: %s %j', (_, dialect, asked, output) => {
  const claimed = claim(dialect, asked);
  expect(claimed.output).toBe(output);
  expect(claimed.microdollars).toBe(claimed.input + 2 * output);
});

test('an answer of a model that nobody knows is taken for a long one', () => {
  const claimed = claim('openai', {}, 'unheard-of');
  expect(claimed).toMatchObject({ output: 32_768, microdollars: null });
  expect(claim('openai', { max_tokens: 100_000 }, 'unheard-of').output).toBe(100_000);
});

test('what is written into a cache is priced as that', () => {
  const at = (asked: Asked, rate: number): void => {
    const { input, microdollars } = claim('anthropic', { max_tokens: 100, ...asked }, 'priced');
    expect(microdollars).toBe(Math.ceil((input * rate + 100 * 15_000_000) / 1_000_000));
  };
  at({}, 3_000_000);
  at({ system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }] }, 3_750_000);
  at({ system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral', ttl: '1h' } }] }, 6_000_000);
});

test.each<[Dialect, Asked]>([
  ['responses', { previous_response_id: 'r1' }],
  ['gemini', { cachedContent: 'c' }],
  ['openai', { messages: [{ role: 'user', content: [{ type: 'file', file: { file_id: 'f' } }] }] as never }],
  ['anthropic', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }],
])('a request that points elsewhere may be as long as the model allows: %s %j', (dialect, asked) => {
  const { input, output } = claim(dialect, {
    ...asked,
    max_tokens: 10,
    max_output_tokens: 10,
    generationConfig: { maxOutputTokens: 10 },
  });
  expect(input + output).toBe(200_010);
});

test('words in a conversation point nowhere', () => {
  const content = 'the member "file_id" and "web_search" and {"url":"http://x"} in what somebody wrote';
  expect(claim('openai', { messages: [{ role: 'user', content }], max_tokens: 10 }).output).toBe(10);
});
