import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { talkToBuiltin } from '../../../test/support/builtin-agent.ts';
import { startModelServer, startServer } from '../../../test/support/model-server.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';

const dialects = ['anthropic', 'openai'] as const;

const script = (turns: string): string => `models:\n  tester:\n    turns:\n${turns.replaceAll(/^/gm, '      ')}`;

describe.each(dialects)('over %s', (dialect) => {
  test('thinks, speaks, works with tools, and says how full its context is', async () => {
    const server = await startModelServer(
      script(`- thinking: Let me see.
  text: I write the file.
  tools:
    - {name: write, input: {path: hello.txt, content: "hi\\n"}}
    - {name: edit, input: {path: hello.txt, old_text: hi, new_text: ho}}
    - {name: bash, input: {command: "cat hello.txt; exit 4"}}
  usage: {input: 100, output: 20}
- text: Done.
  usage: {input: 200, output: 5}`),
    );
    const cwd = tempDir();
    const talk = await talkToBuiltin(cwd, { baseUrl: server.baseUrl, dialect });
    expect(await talk.prompt('make it')).toBe('end_turn');
    expect(readFileSync(join(cwd, 'hello.txt'), 'utf8')).toBe('ho\n');
    expect(talk.text('agent_thought_chunk')).toBe('Let me see.');
    expect(talk.text('agent_message_chunk')).toBe('I write the file.Done.');
    expect(new Set(talk.of('agent_message_chunk').map(({ messageId }) => messageId)).size).toBe(2);
    expect(talk.of('tool_call').map(({ kind, title, status }) => [kind, title, status])).toEqual([
      ['edit', 'Write hello.txt', 'pending'],
      ['edit', 'Edit hello.txt', 'pending'],
      ['execute', 'cat hello.txt; exit 4', 'pending'],
    ]);
    expect(talk.of('tool_call')[0]).toMatchObject({
      rawInput: { path: 'hello.txt', content: 'hi\n' },
      locations: [{ path: join(cwd, 'hello.txt') }],
    });
    expect(talk.of('tool_call_update').map(({ status }) => status)).toEqual([
      'in_progress',
      'completed',
      'in_progress',
      'completed',
      'in_progress',
      'failed',
    ]);
    expect(talk.of('tool_call_update')[1]?.content).toEqual([
      { type: 'diff', path: join(cwd, 'hello.txt'), oldText: null, newText: 'hi\n' },
    ]);
    expect(talk.of('tool_call_update')[5]?.content).toEqual([
      { type: 'content', content: { type: 'text', text: 'ho\n[exit code 4]' } },
    ]);
    expect(talk.of('usage_update').map(({ used }) => used)).toEqual([120, 205]);
    const second = await server.requests[1]?.body;
    expect(second).toContain('[exit code 4]');
    expect(second).toContain('make it');
  });

  test('an answer that breaks off, and errors that pass, are asked for again', async () => {
    const server = await startModelServer(
      script(`- first_of:
    - error: {status: 529, message: busy, times: 1}
    - error: {status: 429, retry_after: 0, times: 1}
    - error: {status: 500, times: 1}
    - text: At last.
      tools: [{name: bash, input: {command: echo once >> log}}]
- text: End.`),
    );
    const cwd = tempDir();
    const talk = await talkToBuiltin(cwd, { baseUrl: server.baseUrl, dialect });
    expect(await talk.prompt('go')).toBe('end_turn');
    expect(talk.notices().length).toBe(3);
    expect(talk.notices()[0]).toMatch(/^The model call failed: .*529.*Trying again in .* s \(2 of 6\)\.$/);
    expect(readFileSync(join(cwd, 'log'), 'utf8')).toBe('once\n');
  });

  test('a stream cut in the middle is repeated, and nothing runs twice', async () => {
    const server = await startModelServer(
      script(`- text: Here it comes, slowly and in many pieces.
  tools: [{name: bash, input: {command: echo once >> log}}]
  delta_chars: 3
- text: End.`),
    );
    let cuts = 0;
    const proxy = await startServer((incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        const run = async (): Promise<void> => {
          const answer = await fetch(`${server.baseUrl}${incoming.url}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: Buffer.concat(chunks),
          });
          const body = Buffer.from(await answer.arrayBuffer());
          response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
          cuts += 1;
          // First a reset, then a clean end at the same place: both are cuts.
          if (cuts > 2) response.end(body);
          else
            response.write(body.subarray(0, body.length * 0.7), () =>
              cuts === 1 ? response.destroy() : response.end(),
            );
        };
        run().catch(() => response.destroy());
      });
    });
    const cwd = tempDir();
    const talk = await talkToBuiltin(cwd, { baseUrl: proxy.baseUrl, dialect });
    expect(await talk.prompt('go')).toBe('end_turn');
    expect(talk.notices().length).toBe(2);
    expect(readFileSync(join(cwd, 'log'), 'utf8')).toBe('once\n');
    expect(talk.of('tool_call').length).toBe(1);
  });

  test('a refused key ends the turn at once', async () => {
    const server = await startModelServer(script('- error: {status: 401, message: bad key}'));
    const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, dialect });
    await expect(talk.prompt('go')).rejects.toMatchObject({
      code: -32_000,
      data: { kind: 'provider_auth', status: 401 },
    });
    expect(server.requests.length).toBe(1);
  });

  test('what the provider will not do is told with its words', async () => {
    const server = await startModelServer(script('- error: {status: 400, message: no such thing}'));
    const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, dialect });
    await expect(talk.prompt('go')).rejects.toMatchObject({
      data: { kind: 'provider_error', status: 400, message: expect.stringContaining('no such thing') as string },
    });
    // The session goes on where it was: the next prompt is a turn of its own.
    await expect(talk.prompt('again')).rejects.toMatchObject({ data: { status: 400 } });
  });

  test.each([
    ['length', 'max_tokens'],
    ['refusal', 'refusal'],
  ])('an answer that stops for %s is %s', async (stop, reason) => {
    const server = await startModelServer(script(`- {text: I was about, stop: ${stop}}`));
    const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, dialect });
    expect(await talk.prompt('go')).toBe(reason);
  });

  test('a cancel ends the model call at once', async () => {
    const server = await startModelServer(script('- {text: waiting and waiting, delta_chars: 2, stall_after: 3}'));
    const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, dialect });
    const turn = talk.prompt('go');
    await until(() => talk.text('agent_message_chunk').length > 3);
    await talk.cancel();
    expect(await turn).toBe('cancelled');
    expect(await server.requests[0]?.closed).toBe(false);
  });
});

test('a cancel ends a tool that runs, and the conversation stays one that can go on', async () => {
  const server = await startModelServer(
    script(`- tools:
    - {name: bash, input: {command: "touch started; sleep 300"}}
    - {name: bash, input: {command: "touch never"}}
- text: Fine.`),
  );
  const cwd = tempDir();
  const talk = await talkToBuiltin(cwd, { baseUrl: server.baseUrl });
  const turn = talk.prompt('go');
  await until(() => existsSync(join(cwd, 'started')));
  await expect(talk.prompt('meanwhile')).rejects.toMatchObject({ code: -32_600 });
  await talk.cancel();
  expect(await turn).toBe('cancelled');
  expect(talk.of('tool_call_update').at(-1)).toMatchObject({
    status: 'failed',
    content: [{ content: { text: '[cancelled]' } }],
  });
  expect(existsSync(join(cwd, 'never'))).toBe(false);
  // Both calls have a result, or a provider would refuse the rest.
  expect(await talk.prompt('go on')).toBe('end_turn');
  const body = (await server.requests[1]?.body) ?? '';
  expect(body.match(/cancelled before it was done/g)?.length).toBe(2);
});

test('the step limit ends the turn', async () => {
  const server = await startModelServer(script('- tools: [{name: bash, input: {command: "true"}}]\n'.repeat(4)));
  const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, maxSteps: 3 });
  expect(await talk.prompt('go')).toBe('max_turn_requests');
  expect(server.requests.length).toBe(3);
});

test('calls of tools that do not exist or make no sense are answered, and the work goes on', async () => {
  const server = await startModelServer(
    script(`- tools:
    - {name: teleport, input: {to: mars}}
    - {name: read, input: {file: x}}
- text: Sorry.`),
  );
  const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl });
  expect(await talk.prompt('go')).toBe('end_turn');
  const body = (await server.requests[1]?.body) ?? '';
  expect(body).toContain('There is no tool');
  expect(body).toContain('The input of read is not valid');
});

test('a model that is silent for too long is asked again', async () => {
  const server = await startModelServer(script('- {text: hello there, delta_chars: 2, stall_after: 1}'));
  const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, stallMs: 100 });
  await expect(talk.prompt('go')).rejects.toMatchObject({ data: { kind: 'provider_error', status: null } });
  expect(talk.notices().length).toBe(5);
  expect(talk.notices()[0]).toContain('The model said nothing for 0 s.');
});

test('a gateway that is not there is asked again, then named', async () => {
  const talk = await talkToBuiltin(tempDir(), { baseUrl: 'http://127.0.0.1:1' });
  await expect(talk.prompt('go')).rejects.toMatchObject({
    data: { kind: 'provider_error', message: expect.stringMatching(/connect/i) as string },
  });
  expect(talk.notices().length).toBe(5);
});

test('the project says how it wants to be worked on; the request is asked to be cached and to think', async () => {
  const server = await startModelServer(script('- text: Yes.'));
  const cwd = tempDir();
  mkdirSync(join(cwd, '.git'));
  mkdirSync(join(cwd, 'deep'));
  writeFileSync(join(cwd, 'AGENTS.md'), 'Be kind.');
  writeFileSync(join(cwd, 'CLAUDE.md'), 'Not read.');
  writeFileSync(join(cwd, 'deep', 'CLAUDE.md'), 'Be brief.');
  const talk = await talkToBuiltin(join(cwd, 'deep'), { baseUrl: server.baseUrl });
  await talk.prompt('“go”\n\u0001');
  const request = JSON.parse((await server.requests[0]?.body) ?? '') as {
    system: { text: string; cache_control?: object }[];
    thinking: object;
    messages: { content: { text: string; cache_control?: object }[] }[];
  };
  const [system] = request.system;
  expect(system?.text).toMatch(/Be kind\.[^]*Be brief\./);
  expect(system?.text).not.toContain('Not read.');
  expect(system?.cache_control).toEqual({ type: 'ephemeral' });
  expect(request.messages[0]?.content).toEqual([
    { type: 'text', text: '“go”\n\u0001', cache_control: { type: 'ephemeral' } },
  ]);
  expect(request.thinking).toEqual({ type: 'enabled', budget_tokens: 8000 });
});

test('a provider that does not know thinking is asked without it', async () => {
  const model = await startModelServer(script('- text: Yes.'));
  const bodies: string[] = [];
  const server = await startServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      bodies.push(body);
      if (body.includes('"thinking"')) {
        response.writeHead(400, { 'content-type': 'application/json' });
        response.end(
          JSON.stringify({
            type: 'error',
            error: { type: 'invalid_request_error', message: 'thinking: Extra inputs are not permitted' },
          }),
        );
        return;
      }
      fetch(`${model.baseUrl}${incoming.url}`, { method: 'POST', body }).then(
        async (answer) => {
          response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
          response.end(Buffer.from(await answer.arrayBuffer()));
        },
        () => response.destroy(),
      );
    });
  });
  const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl });
  expect(await talk.prompt('go')).toBe('end_turn');
  expect(talk.notices()).toEqual(['The model does not take the setting for thinking: going on without it.']);
  expect(bodies.length).toBe(2);
});

describe('a conversation that gets long', () => {
  test('has its old results shortened, then is summed up, and goes on', async () => {
    const steps = 14;
    // The summary is a conversation of its own; after it the answers count anew, so the script only ever calls or ends.
    const turn = `- first_of:
    - {when: the beginning of a coding agent's work, text: SUMMARY OF IT}
    - {when: SUMMARY OF IT, text: All done.}
    - {tools: [{name: bash, input: {command: "printf 'result %08000d' 0"}}]}\n`;
    const server = await startModelServer(script(turn.repeat(steps)));
    const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, contextTokens: 15_000 });
    expect(await talk.prompt('the task itself')).toBe('end_turn');
    expect(talk.notices()[0]).toMatch(
      /^The conversation is long \(about \d+ tokens\): old results of tools were shortened to about \d+\.$/,
    );
    const [begun, over] = talk.of('compaction_update');
    expect(begun).toMatchObject({ status: 'in_progress' });
    expect(over).toMatchObject({
      status: 'completed',
      compactionId: begun?.compactionId,
      summary: [{ type: 'text', text: 'SUMMARY OF IT' }],
    });
    expect(talk.text('agent_message_chunk')).toBe('All done.');
    const last = JSON.parse((await server.requests.at(-1)?.body) ?? '') as {
      messages: { role: string; content: { type: string; id?: string; tool_use_id?: string; text?: string }[] }[];
    };
    expect(last.messages[0]?.content[0]?.text).toMatch(/^the task itself\n\n\[The work so far[^]*SUMMARY OF IT$/);
    const calls = last.messages.flatMap(({ content }) => content.flatMap(({ id }) => id ?? []));
    const results = last.messages.flatMap(({ content }) => content.flatMap(({ tool_use_id }) => tool_use_id ?? []));
    expect(calls.length).toBeGreaterThan(0);
    expect(results).toEqual(calls);
  });

  test('is made shorter as well where the provider says that it is too long', async () => {
    const server = await startModelServer(`models:
  tester:
    conversations:
      - when: the beginning of a coding agent's work
        turns: [{text: SUMMED}]
      - when: SUMMED
        turns: [{text: unused}, {text: Went on.}]
      - turns:
          - tools: [{name: bash, input: {command: echo one}}]
          - tools: [{name: bash, input: {command: echo two}}]
          - error: {status: 400, message: "prompt is too long: 210000 tokens"}`);
    const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl, contextTokens: 1000 });
    expect(await talk.prompt('go')).toBe('end_turn');
    expect(talk.of('compaction_update').map(({ status }) => status)).toEqual(['in_progress', 'completed']);
    expect(talk.text('agent_message_chunk')).toBe('Went on.');
  });

  test('whose summary fails says so', async () => {
    const server = await startModelServer(`models:
  tester:
    conversations:
      - when: the beginning of a coding agent's work
        turns: [{error: {status: 403}}]
      - turns:
          - tools: [{name: bash, input: {command: echo one}}]
          - tools: [{name: bash, input: {command: echo two}}]
          - error: {status: 400, message: "prompt is too long: 210000 tokens"}`);
    const talk = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl });
    await expect(talk.prompt('go')).rejects.toMatchObject({ data: { kind: 'provider_auth', status: 403 } });
    expect(talk.of('compaction_update').at(-1)).toMatchObject({
      status: 'failed',
      error: expect.stringContaining('403') as string,
    });
  });
});

test('a session that does not exist, and content that is not text', async () => {
  const server = await startModelServer(script('- text: Yes.'));
  const { agent, sessionId } = await talkToBuiltin(tempDir(), { baseUrl: server.baseUrl });
  await expect(agent.request('session/prompt', { sessionId: 'nobody', prompt: [] })).rejects.toMatchObject({
    code: -32_002,
  });
  await agent.request('session/prompt', {
    sessionId,
    prompt: [
      { type: 'text', text: 'a' },
      { type: 'resource_link', uri: 'file:///b', name: 'b' },
      { type: 'resource', resource: { uri: 'file:///c', text: 'see' } },
      { type: 'resource', resource: { uri: 'file:///d', blob: 'AA==' } },
      { type: 'image', data: 'AA==', mimeType: 'image/png' },
    ],
  });
  expect(await server.requests[0]?.body).toContain('a\\nfile:///b\\nfile:///c\\nsee\\nfile:///d\\n[image]');
});
