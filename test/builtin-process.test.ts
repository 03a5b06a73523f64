import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { prepareAttempt } from './support/recorded.ts';
import { scriptedHandler } from '../src/gateway/scripted/handler.ts';
import { parseScript } from '../src/gateway/scripted/script.ts';
import { knownAgents } from '../src/agent/catalog.ts';

const script = (turns: string): string => `models:\n  model-1:\n    turns:\n${turns.replaceAll(/^/gm, '      ')}`;
const builtin = knownAgents.find(({ name }) => name === 'builtin')!;

/** An attempt door with a scripted model behind it, which notes whom it was asked by. */
async function openDoor(socket: string, turns: string): Promise<string[]> {
  const seen: string[] = [];
  const answer = scriptedHandler(parseScript(script(turns)));
  const server = createServer((request, response) => {
    seen.push(
      `${request.headers.authorization} ${request.headers['x-api-key'] === undefined ? 'no key' : 'a key'} ${request.url}`,
    );
    request.url = request.url?.slice('/models'.length) ?? '';
    answer(request, response).catch(() => response.destroy());
  });
  server.listen(socket);
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return seen;
}

test.each(['anthropic', 'openai'] as const)('from the recorder to the model and back, over %s', async (dialect) => {
  const attempt = prepareAttempt({ command: builtin.command, env: builtin.env, spec: { dialect } });
  const seen = await openDoor(
    attempt.spec.door.socket!,
    '- {thinking: hm, tools: [{name: write, input: {path: made.txt, content: "made\\n"}}]}\n- text: Made it.',
  );
  const { eof, said, result, of } = await attempt.run();
  expect(eof).toMatchObject({ reason: 'end_turn', exit: { code: 0 } });
  expect(said).toEqual(expect.arrayContaining(['hm']));
  expect(said.join('')).toContain('Made it.');
  expect(result?.files.map(({ path }) => path)).toEqual(['made.txt']);
  expect(seen.length).toBe(2);
  for (const each of seen)
    expect(each).toMatch(/^Bearer token-of-the-attempt no key \/models\/v1\/(?:messages|chat\/completions)$/);
  expect(of('stderr')).toEqual([]);
});

test('a refused key is the end of the attempt, in the words of the provider', async () => {
  const attempt = prepareAttempt({ command: builtin.command, env: builtin.env });
  await openDoor(attempt.spec.door.socket!, '- error: {status: 401, message: the key is refused}');
  const { eof } = await attempt.run();
  expect(eof.reason).toBe('provider_auth');
  expect(eof.message).toContain('the key is refused');
});

test('without its settings it says what is missing', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, '..', 'src', 'agent', 'builtin-main.ts')], {
    env: { PATH: process.env['PATH'] },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  const said: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk));
  const [code] = (await once(child, 'close')) as [number];
  expect(code).toBe(1);
  expect(Buffer.concat(said).toString()).toMatch(/AIDEATOR_BASE_URL: .*AIDEATOR_MODEL: /);
});
