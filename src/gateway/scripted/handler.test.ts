import { expect, test } from 'vitest';
import { dialects, keyHeader, pathOf, post } from '../../../test/support/gateway.ts';
import { startModelServer } from '../../../test/support/model-server.ts';

const script = 'models:\n  m:\n    turns: [{ text: one two, delta_chars: 4, cut_after: 1 }, { text: whole }]\n';

test.each(dialects)('serves the script as a provider does: %s', async (dialect) => {
  const server = await startModelServer(script, { key: 'sk-real' });
  const key = keyHeader(dialect, 'sk-real');
  expect(await post(server.baseUrl, dialect, {}, { authorization: 'Bearer other' })).toMatchObject({
    status: 401,
    text: expect.stringMatching(/authentication_error|UNAUTHENTICATED/),
  });
  const cut = await post(server.baseUrl, dialect, { stream: true }, key);
  expect(cut).toMatchObject({ status: 200, cut: true, text: expect.stringContaining('one ') });
  expect(cut.text).not.toMatch(/"error":[^n]|failed/);
  const messages = [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: 'y' },
    { role: 'user', content: 'z' },
  ];
  expect(await post(server.baseUrl, dialect, { messages }, key)).toMatchObject({
    status: 200,
    cut: false,
    text: expect.stringContaining('whole'),
  });
  expect(await post(server.baseUrl, dialect, { messages, model: 'other' }, key)).toMatchObject({ status: 404 });
  expect(server.requests.map((request) => request.url)).toEqual([
    pathOf(dialect),
    pathOf(dialect, { stream: true }),
    pathOf(dialect),
    pathOf(dialect, { model: 'other' }),
  ]);
});

test('has no other routes', async () => {
  const server = await startModelServer(script);
  for (const [path, method] of [
    ['/v1/models', 'POST'],
    ['/v1/messages', 'GET'],
  ] as const) {
    expect((await fetch(`${server.baseUrl}${path}`, { method })).status).toBe(404);
  }
});
