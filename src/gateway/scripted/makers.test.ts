import { describe, expect, test } from 'vitest';
import { dialects, post, type Asked } from '../../../test/support/gateway.ts';
import { startModelServer, type TestServer } from '../../../test/support/model-server.ts';

/** The same turn in OpenAI Responses and in Gemini, and which turn their conversations are at. */

const script = `
models:
  m:
    turns:
      - thinking: I should look at it first.
        text: Let me see what there is.
        tools: [{ name: bash, input: { command: npm test } }, { name: read, input: { path: a.ts } }]
        usage: { input: 1200, output: 85, cache_read: 10 }
      - first_of:
          - { when: 'FAIL tests', text: it fails, stop: length }
          - { text: it passes, stop: refusal }
  silent:
    turns: [{ text: a, usage: none }]
`;

const server = (): Promise<TestServer> => startModelServer(script);

async function bodyFor(path: string, body: object): Promise<Record<string, unknown>> {
  const { baseUrl } = await server();
  const response = await fetch(`${baseUrl}${path}`, { method: 'POST', body: JSON.stringify(body) });
  return (await response.json()) as Record<string, unknown>;
}

interface Event {
  type?: string;
  sequence_number?: number;
  response?: unknown;
  item?: unknown;
  delta?: string;
}

const eventsIn = <Data>(text: string): Data[] =>
  text
    .split(/\r?\n/)
    .filter((line) => line.startsWith('data: '))
    .map((line) => JSON.parse(line.slice(6)) as Data);

describe('OpenAI Responses', () => {
  const ask = (input: unknown, more: object = {}) => bodyFor('/v1/responses', { model: 'm', input, ...more });

  test('begins, fills and ends each item, and repeats all of them at the end', async () => {
    const { baseUrl } = await server();
    const events = eventsIn<Event>((await post(baseUrl, 'responses', { stream: true })).text);
    expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, index) => index));
    const types = events.map(({ type }) => type).filter((type, index, all) => type !== all[index - 1]);
    expect(types).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.reasoning_summary_part.added',
      'response.reasoning_summary_text.delta',
      'response.reasoning_summary_text.done',
      'response.reasoning_summary_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
    const said = events.filter(({ type }) => type === 'response.output_text.delta').map(({ delta }) => delta);
    expect(said.join('')).toBe('Let me see what there is.');
    const items = events.filter(({ type }) => type === 'response.output_item.done').map(({ item }) => item);
    expect(events.at(-1)?.response).toMatchObject({
      status: 'completed',
      output: items,
      usage: { input_tokens: 1210, input_tokens_details: { cached_tokens: 10 }, output_tokens: 85 },
    });
    expect(items).toMatchObject([
      { type: 'reasoning', summary: [{ type: 'summary_text', text: 'I should look at it first.' }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Let me see what there is.' }] },
      { type: 'function_call', name: 'bash', arguments: '{"command":"npm test"}', call_id: expect.any(String) },
      { type: 'function_call', name: 'read', arguments: '{"path":"a.ts"}' },
    ]);
    // The same answer whole.
    const { output } = await ask('x');
    expect(output).toEqual(items);
  });

  test('knows by the items which turn it is', async () => {
    const answered = [
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'x' }] },
      { type: 'reasoning', summary: [{ type: 'summary_text', text: 'hm' }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'y' }] },
      { type: 'function_call', call_id: '1', name: 'bash', arguments: '{}' },
    ];
    const output = { type: 'function_call_output', call_id: '1', output: '1 fail tests' };
    expect(await ask([...answered, output])).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ content: [{ text: 'it fails' }] }],
    });
    expect(await ask([...answered, { ...output, output: 'fine' }])).toMatchObject({
      incomplete_details: { reason: 'content_filter' },
      output: [{ content: [{ text: 'it passes' }] }],
    });
    expect(await ask(undefined)).toMatchObject({ error: { message: expect.stringContaining('input') } });
    expect(await ask('x', { model: 'silent' })).toMatchObject({ usage: null });
  });
});

describe('Gemini', () => {
  interface Chunk {
    candidates: Array<{ content: { parts: Array<Record<string, unknown>> }; finishReason?: string }>;
    usageMetadata?: object;
  }
  const contents = (...said: unknown[]) => said.map((parts, index) => ({ role: index % 2 ? 'model' : 'user', parts }));
  const ask = (body: object, method = 'generateContent') => bodyFor(`/v1beta/models/m:${method}`, body);

  test('streams thoughts and text in parts, and calls of tools whole', async () => {
    const { baseUrl } = await server();
    const got = await post(baseUrl, 'gemini', { stream: true });
    expect(got.headers.get('content-type')).toBe('text/event-stream');
    const chunks = eventsIn<Chunk>(got.text);
    const parts = chunks.flatMap(({ candidates }) => candidates[0]?.content.parts ?? []);
    const words = (thought?: true): string =>
      parts
        .filter((part) => part['thought'] === thought)
        .map((part) => (typeof part['text'] === 'string' ? part['text'] : ''))
        .join('');
    expect(words(true)).toBe('I should look at it first.');
    expect(words()).toBe('Let me see what there is.');
    expect(parts.flatMap((part) => part['functionCall'] ?? [])).toMatchObject([
      { name: 'bash', args: { command: 'npm test' } },
      { name: 'read', args: { path: 'a.ts' } },
    ]);
    expect(chunks.at(-1)).toMatchObject({
      candidates: [{ finishReason: 'STOP' }],
      usageMetadata: { promptTokenCount: 1210, cachedContentTokenCount: 10, candidatesTokenCount: 85 },
    });
    expect(chunks.filter(({ candidates }) => candidates[0]?.finishReason !== undefined)).toHaveLength(1);
    // Without a stream the answer is one chunk, and no list of them.
    const whole = (await ask({ contents: contents([{ text: 'x' }]) })) as unknown as Chunk;
    expect(whole.candidates[0]?.content.parts.map((part) => part['text'] ?? 'call')).toEqual([
      'I should look at it first.',
      'Let me see what there is.',
      'call',
      'call',
    ]);
  });

  test('knows by the contents which turn it is', async () => {
    const response = { name: 'bash', response: { output: '1 fail tests' } };
    const conversation = contents(
      [{ text: 'x' }],
      [{ functionCall: { name: 'bash', args: {} } }],
      [{ functionResponse: response }],
    );
    expect(await ask({ contents: conversation })).toMatchObject({
      candidates: [{ content: { parts: [{ text: 'it fails' }] }, finishReason: 'MAX_TOKENS' }],
    });
    expect(await ask({ contents: contents([{ text: 'x' }], [{ text: 'y' }], [{ text: 'z' }]) })).toMatchObject({
      candidates: [{ finishReason: 'SAFETY' }],
    });
    expect(await ask({})).toMatchObject({ error: { code: 400, status: 'INVALID_ARGUMENT' } });
  });
});

test('tokens are counted where makers count them', async () => {
  const contents = [{ role: 'user', parts: [{ text: '12345678' }] }];
  expect(await bodyFor('/v1beta/models/m:countTokens', { contents })).toEqual({ totalTokens: 3 });
  const messages = [{ role: 'user', content: '12345678' }];
  expect(await bodyFor('/v1/messages/count_tokens', { model: 'm', messages })).toEqual({ input_tokens: 3 });
});

test.each(dialects)('%s says what goes wrong in its own words', async (dialect) => {
  const { baseUrl } = await startModelServer(
    'models:\n  m:\n    turns: [{ first_of: [{ when: early, error: { status: 429, retry_after: 7 } }, { text: one two three, delta_chars: 4, error: { status: 529, after: 1 } }] }]\n',
  );
  const asked = (content: string): Asked => ({ stream: true, messages: [{ role: 'user', content }] });
  const early = await post(baseUrl, dialect, asked('early'));
  expect([early.status, early.headers.get('retry-after')]).toEqual([429, '7']);
  expect(early.text).toMatch(/"(?:rate_limit_error|RESOURCE_EXHAUSTED)"/);
  const late = await post(baseUrl, dialect, asked('late'));
  expect(late.text).toContain('one');
  expect(late.text).not.toContain('two');
  expect(late.text).toMatch(/Overloaded/);
});
