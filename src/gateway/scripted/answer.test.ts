import { describe, expect, test } from 'vitest';
import { dialects, requestOf, routeAt, type Asked } from '../../../test/support/gateway.ts';
import type { Dialect } from '../dialect.ts';
import { createScriptedModel } from './answer.ts';
import { pieces } from './beats.ts';
import { parseScript } from './script.ts';

interface Got {
  status: number;
  headers: Readonly<Record<string, string>>;
  text: string;
  broke: string | null;
}

const never = new AbortController().signal;

function ask(
  yaml: string,
): (
  messages: unknown[],
  more?: { dialect?: Dialect; who?: string; body?: Asked; signal?: AbortSignal },
) => Promise<Got> {
  const model = createScriptedModel(parseScript(yaml));
  return async (messages, { dialect = 'anthropic', who = '', body = {}, signal = never } = {}) => {
    const { path, body: sent } = requestOf(dialect, { ...body, messages: messages as NonNullable<Asked['messages']> });
    const answer = await model.answer({
      route: routeAt(path),
      model: body.model ?? 'm',
      body: Buffer.from(sent),
      conversation: who,
      signal,
    });
    let text = '';
    let broke: string | null = null;
    try {
      for await (const chunk of answer.body) text += chunk.toString('utf8');
    } catch (error) {
      broke = error instanceof Error ? error.name : String(error);
    }
    return { status: answer.status, headers: answer.headers, text, broke };
  };
}

const user = (content: unknown) => ({ role: 'user', content });
const assistant = (content: unknown) => ({ role: 'assistant', content });
const types = (text: string): string[] => [...text.matchAll(/^event: (.+)$/gm)].map((match) => match[1] ?? '');
const said = (got: Got): unknown => JSON.parse(got.text);

describe('which turn is answered', () => {
  const yaml = `
models:
  m:
    conversations:
      - when: smallest change
        turns: [{ text: small 1 }, { text: small 2 }]
      - turns:
          - text: other 1
          - first_of:
              - { when: 'FAIL tests', text: it fails }
              - text: it passes
`;
  const answerOf = async (messages: unknown[], dialect: Dialect = 'anthropic'): Promise<unknown> => {
    const body = said(await ask(yaml)(messages, { dialect }));
    return dialect === 'anthropic'
      ? (body as { content: Array<{ text: string }> }).content[0]?.text
      : (body as { choices: Array<{ message: { content: string } }> }).choices[0]?.message.content;
  };

  test('follows from the prompt and the number of answers, in both dialects', async () => {
    expect(await answerOf([user('Make the Smallest Change.')])).toBe('small 1');
    expect(await answerOf([user([{ type: 'text', text: 'smallest change' }]), assistant('x'), user('y')])).toBe(
      'small 2',
    );
    expect(await answerOf([user('hello')])).toBe('other 1');
    expect(await answerOf([{ role: 'system', content: 'smallest change' }, user('hello')], 'openai')).toBe('small 1');
    // What comes after the first answer chooses no other conversation.
    expect(await answerOf([user('hello'), assistant('a'), user('smallest change')])).toBe('it passes');
  });

  test('follows from what the tools gave', async () => {
    const anthropic = [
      user('hello'),
      assistant([{ type: 'tool_use', id: '1', name: 'bash', input: { command: 'npm test' } }]),
      user([{ type: 'tool_result', tool_use_id: '1', content: [{ type: 'text', text: '1 fail tests' }] }]),
    ];
    expect(await answerOf(anthropic)).toBe('it fails');
    const openai = [
      user('hello'),
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: '1', type: 'function', function: { name: 'bash', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: '1', content: 'FAIL tests' },
    ];
    expect(await answerOf(openai, 'openai')).toBe('it fails');
  });

  test.for([
    ['anthropic', [{ name: 'Read' }, { name: 'Bash' }], 'Bash'],
    ['openai', [{ type: 'function', function: { name: 'run_shell' } }], 'run_shell'],
    ['responses', [{ type: 'function', name: 'run_shell' }, { type: 'web_search' }], 'run_shell'],
    ['gemini', [{ functionDeclarations: [{ name: 'x' }, { name: 'run_shell' }] }], 'run_shell'],
  ] as const)('in %s a tool of several is the first that is offered', async ([dialect, tools, called]) => {
    const script = `
models:
  m:
    turns:
      - first_of:
          - tools: [{ first_of: [{ name: run_shell, input: { a: 1 } }, { name: Bash, input: { b: 2 } }] }]
          - text: A title
`;
    const chosen = await ask(script)([user('hello')], { dialect, body: { tools } });
    expect(chosen.text).toContain(`"name":"${called}"`);
    // Who offers none of them asks for something else.
    const beside = await ask(script)([user('hello')], { dialect });
    expect(beside.text).toContain('A title');
  });

  test('a turn whose tools are not offered, and that has no alternative, says which are', async () => {
    const script = 'models: { m: { turns: [{ tools: [{ first_of: [{ name: a }, { name: b }] }] }] } }';
    const { status, text } = await ask(script)([user('hello')], { body: { tools: [{ name: 'c' }] } });
    expect([status, text]).toEqual([400, expect.stringContaining('which offers the tools c') as string]);
  });

  test('is an error naming model and turn where the script has none', async () => {
    const beyond = await ask(yaml)([user('hello'), assistant('a'), user('b'), assistant('c'), user('d')]);
    expect(beyond.status).toBe(400);
    expect(said(beyond)).toMatchObject({
      type: 'error',
      error: {
        type: 'invalid_request_error',
        message: 'The scripted model m has no turn 3 in its script: it ends after turn 2.',
      },
    });
    const only = ask(
      'models:\n  m:\n    conversations:\n      - when: x\n        turns: [{ first_of: [{ when: y, text: z }] }]\n',
    );
    expect((await only([user('hello')])).text).toContain('no conversation for this prompt');
    expect((await only([user('x')])).text).toContain('no alternative in turn 1');
    expect(await only([user('x')], { dialect: 'openai', body: { model: 'other' } })).toMatchObject({
      status: 404,
      text: expect.stringContaining('no model other. It has m.'),
    });
    expect(await only([], {})).toMatchObject({ status: 400, text: expect.stringContaining('messages') });
  });

  test('is the same again for the same request, ids and all', async () => {
    const asked = ask('models:\n  m:\n    turns: [{ text: a, tools: [{ name: bash }, { name: bash }] }]\n');
    const first = await asked([user('x')]);
    expect(await asked([user('x')])).toEqual(first);
    const ids = [...first.text.matchAll(/"id":"(call_[^"]+)"/g)].map((match) => match[1]);
    expect(new Set(ids).size).toBe(2);
  });

  test('fails as often as it is told to, for each who asks', async () => {
    const asked = ask(
      'models:\n  m:\n    turns: [{ first_of: [{ error: { status: 529, times: 2 } }, { text: well }] }]\n',
    );
    const statuses = async (who: string): Promise<number[]> => {
      const all: number[] = [];
      for (let time = 0; time < 3; time++) all.push((await asked([user('x')], { who })).status);
      return all;
    };
    expect(await statuses('a')).toEqual([529, 529, 200]);
    expect(await statuses('b')).toEqual([529, 529, 200]);
  });
});

describe('how it is said', () => {
  const full =
    'models:\n  m:\n    turns:\n      - thinking: I should look first.\n        text: Let me see what there is.\n        tools: [{ name: bash, input: { command: npm test --silent } }]\n        usage: { input: 1200, output: 85, cache_read: 10, cache_write: 5 }\n';

  test('Anthropic stream', async () => {
    const got = await ask(full)([user('x')], { body: { stream: true } });
    expect(got.headers['content-type']).toBe('text/event-stream');
    const names = types(got.text);
    expect(names.slice(0, 3)).toEqual(['message_start', 'ping', 'content_block_start']);
    expect(names.slice(-3)).toEqual(['content_block_stop', 'message_delta', 'message_stop']);
    expect(names.filter((name) => name === 'content_block_start')).toHaveLength(3);
    for (const part of [
      'thinking_delta',
      'signature_delta',
      'text_delta',
      'input_json_delta',
      '"stop_reason":"tool_use"',
      '"input_tokens":1200,"cache_creation_input_tokens":5,"cache_read_input_tokens":10',
      '"usage":{"output_tokens":85}',
    ]) {
      expect(got.text).toContain(part);
    }
    expect(got.text.match(/input_json_delta/g)?.length).toBeGreaterThan(1);
  });

  test('OpenAI stream, with usage only when asked for', async () => {
    const got = await ask(full)([user('x')], {
      dialect: 'openai',
      body: { stream: true, stream_options: { include_usage: true } },
    });
    for (const part of [
      '"reasoning_content":"I should',
      '"content":"Let me',
      '"finish_reason":"tool_calls"',
      '"prompt_tokens":1215,"completion_tokens":85,"total_tokens":1300,"prompt_tokens_details":{"cached_tokens":10}',
    ]) {
      expect(got.text).toContain(part);
    }
    expect(got.text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect((await ask(full)([user('x')], { dialect: 'openai', body: { stream: true } })).text).not.toContain('usage');
  });

  test('bodies that are no stream', async () => {
    expect(said(await ask(full)([user('x')]))).toMatchObject({
      type: 'message',
      content: [
        { type: 'thinking', thinking: 'I should look first.' },
        { type: 'text', text: 'Let me see what there is.' },
        { type: 'tool_use', name: 'bash', input: { command: 'npm test --silent' } },
      ],
      stop_reason: 'tool_use',
      usage: { input_tokens: 1200, output_tokens: 85 },
    });
    expect(said(await ask(full)([user('x')], { dialect: 'openai' }))).toMatchObject({
      choices: [
        {
          finish_reason: 'tool_calls',
          message: {
            content: 'Let me see what there is.',
            reasoning_content: 'I should look first.',
            tool_calls: [{ function: { name: 'bash', arguments: '{"command":"npm test --silent"}' } }],
          },
        },
      ],
      usage: { prompt_tokens: 1215 },
    });
  });

  test.each([
    ['end', 'end_turn', 'stop'],
    ['length', 'max_tokens', 'length'],
    ['refusal', 'refusal', 'content_filter'],
  ])('stops for the reason %s', async (stop, anthropic, openai) => {
    const asked = ask(`models:\n  m:\n    turns: [{ text: a, stop: ${stop} }]\n`);
    expect((await asked([user('x')])).text).toContain(`"stop_reason":"${anthropic}"`);
    expect((await asked([user('x')], { dialect: 'openai' })).text).toContain(`"finish_reason":"${openai}"`);
  });

  test('counts a quarter of the characters where the script does not say, and nothing for `none`', async () => {
    const counted = said(
      await ask('models:\n  m:\n    turns: [{ text: 12345678, repeat: 3 }]\n'.replace('12345678', '"12345678"'))([
        user('0123456789'),
      ]),
    );
    expect(counted).toMatchObject({
      content: [{ text: '12345678'.repeat(3) }],
      usage: { input_tokens: 3, output_tokens: 6 },
    });
    const none = ask('models:\n  m:\n    turns: [{ text: a, usage: none }]\n');
    expect((await none([user('x')], { dialect: 'openai' })).text).not.toContain('usage');
    expect((await none([user('x')], { body: { stream: true } })).text).not.toContain('input_tokens');
    expect(
      (await none([user('x')], { dialect: 'openai', body: { stream: true, stream_options: { include_usage: true } } }))
        .text,
    ).not.toContain('tokens');
  });
});

describe('how it goes wrong', () => {
  test.each([
    [401, 'authentication_error', 'invalid x-api-key'],
    [429, 'rate_limit_error', 'Too many requests'],
    [500, 'api_error', 'Internal server error'],
    [529, 'overloaded_error', 'Overloaded'],
    [418, 'invalid_request_error', 'The script answers 418'],
  ])('with status %i', async (status, type, message) => {
    const asked = ask(`models:\n  m:\n    turns: [{ error: { status: ${status}, retry_after: 7 } }]\n`);
    const got = await asked([user('x')], { body: { stream: true } });
    expect(got).toMatchObject({ status, headers: { 'retry-after': '7' } });
    expect(said(got)).toMatchObject({ type: 'error', error: { type, message: expect.stringContaining(message) } });
    expect(said(await asked([user('x')], { dialect: 'openai' }))).toMatchObject({
      error: { message: expect.stringContaining(message) },
    });
  });

  test.each(dialects)('in the middle of a stream: %s', async (dialect) => {
    const body = { stream: true };
    const turn = (more: string): ReturnType<typeof ask> =>
      ask(`models:\n  m:\n    turns: [{ text: one two three four five six, delta_chars: 5, ${more} }]\n`);
    const failed = await turn('error: { status: 529, after: 2 }')([user('x')], { dialect, body });
    expect(failed.text).toContain('two ');
    expect(failed.text).not.toContain('three');
    expect(failed.text).toMatch(/"(?:overloaded_error|UNAVAILABLE)"[^\n]*\n\n$/);
    expect((await turn('error: { status: 529, after: 999 }')([user('x')], { dialect, body })).text).toContain(
      'Overloaded',
    );
    expect((await turn('error: { status: 529, after: 2 }')([user('x')], { dialect })).status).toBe(529);

    const cut = await turn('cut_after: 2')([user('x')], { dialect, body });
    expect(cut).toMatchObject({ broke: 'Cut', text: expect.stringContaining('two ') });
    expect(cut.text).not.toContain('three');
    expect(await turn('cut_after: 999')([user('x')], { dialect, body })).toMatchObject({
      broke: 'Cut',
      text: expect.stringContaining('six'),
    });
    expect(await turn('cut_after: 2')([user('x')], { dialect })).toMatchObject({ broke: 'Cut', text: '{"id":"cut' });
  });

  test('by never ending, until whoever asked is gone', async () => {
    const call = new AbortController();
    const reason = new Error('gone');
    reason.name = 'Gone';
    const model = createScriptedModel(
      parseScript('models:\n  m:\n    turns: [{ text: one two, stall_after: 1, delta_chars: 4, delay_ms: 1 }]\n'),
    );
    const body = Buffer.from(JSON.stringify({ model: 'm', stream: true, messages: [user('x')] }));
    const answer = await model.answer({
      route: routeAt('/v1/chat/completions'),
      model: 'm',
      body,
      conversation: '',
      signal: call.signal,
    });
    let text = '';
    const listening = (async () => {
      for await (const chunk of answer.body) {
        text += chunk.toString('utf8');
        if (text.includes('one ')) setImmediate(() => call.abort(reason));
      }
    })();
    await expect(listening).rejects.toBe(reason);
    expect(text).not.toContain('two');
    const slow = ask('models:\n  m:\n    turns: [{ text: a, first_delay_ms: 3600000 }]\n')([user('x')], {
      signal: AbortSignal.abort(reason),
    });
    await expect(slow).rejects.toBe(reason);
  });

  test('by an answer of another kind', async () => {
    const got = await ask(
      "models:\n  m:\n    turns: [{ raw: { status: 302, headers: { Location: 'https://elsewhere/' }, body: <html> } }]\n",
    )([user('x')]);
    expect(got).toMatchObject({ status: 302, headers: { location: 'https://elsewhere/' }, text: '<html>' });
  });

  test('with a request that is none', async () => {
    const model = createScriptedModel(parseScript('models:\n  m:\n    turns: [{ text: a }]\n'));
    const answer = await model.answer({
      route: routeAt('/v1/chat/completions'),
      model: 'm',
      body: Buffer.from('{'),
      conversation: '',
      signal: never,
    });
    expect(answer.status).toBe(400);
  });
});

test('pieces lose nothing and split no character', () => {
  const text = 'some words and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 and\n\n  averyveryverylongwordwithoutanyspace end';
  for (let size = 1; size < 30; size++) {
    const parts = [...pieces(text, size)];
    expect(parts.join('')).toBe(text);
    for (const part of parts) expect(part).toBe(part.toWellFormed());
  }
});
