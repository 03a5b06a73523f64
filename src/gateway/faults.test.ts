import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { before, beforeScript, dialects, errorIn, KEY, post, send } from '../../test/support/gateway.ts';

describe.each(dialects)('%s', (dialect) => {
  test('a refused key is said with its status, never the key', async () => {
    const { gateway } = await before(dialect, (_, response) => {
      response.writeHead(401, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ error: { type: 'authentication_error', message: `Incorrect API key provided: ${KEY}` } }),
      );
    });
    const got = await post(gateway.baseUrl, dialect);
    expect(got.status).toBe(401);
    expect(errorIn(got.text)).toEqual({
      code: 'provider_key_refused',
      message: expect.stringContaining('Incorrect API key provided: [redacted: key of the provider]'),
    });
    const [call] = await gateway.recorded(1);
    expect(call?.error).toMatch(/^provider refused the key \(from environment TEST_KEY\): 401/);
    expect(got.text + JSON.stringify(call)).not.toContain(KEY);
  });

  test('an error of the provider passes, without the key, with its wait', async () => {
    const { gateway } = await before(
      dialect,
      (_, response) => {
        response.writeHead(529, { 'content-type': 'application/json', 'retry-after': '3', 'x-echo': KEY });
        response.end(
          JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: `Overloaded for ${KEY}` } }),
        );
      },
      { patienceMs: 0 },
    );
    const got = await post(gateway.baseUrl, dialect);
    expect(got).toMatchObject({
      status: 529,
      text: JSON.stringify({
        type: 'error',
        error: { type: 'overloaded_error', message: 'Overloaded for [redacted: key of the provider]' },
      }),
    });
    expect(got.headers.get('retry-after')).toBe('3');
    expect(await gateway.recorded(1)).toMatchObject([
      {
        status: 529,
        error: 'provider answered 529: overloaded_error: Overloaded for [redacted: key of the provider]',
        costMicrodollars: 0,
      },
    ]);
  });

  test('a key that a provider says in its stream is covered, and lengths stay', async () => {
    const { gateway } = await before(dialect, async (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`data: {"error":{"message":"for ${KEY.slice(0, 9)}`);
      await new Promise(setImmediate);
      response.end(`${KEY.slice(9)}"}}\n\n`);
    });
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got.text).toBe(`data: {"error":{"message":"for ${'*'.repeat(KEY.length)}"}}\n\n`);
    expect(JSON.stringify(await gateway.recorded(1))).not.toContain(KEY);
  });

  test('a stream that is cut ends in an error and a cut, and what is known is recorded', async () => {
    const { gateway } = await beforeScript(
      dialect,
      '{ text: one two three four, delta_chars: 5, cut_after: 2, usage: { input: 20, output: 4 } }',
    );
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got).toMatchObject({ status: 200, cut: true });
    expect(got.text).toContain('two');
    expect(got.text).not.toContain('\n\n\n');
    expect(got.text).toMatch(/data: \{[^\n]*broke in the middle[^\n]*\}\n\n$/);
    expect(await gateway.recorded(1)).toMatchObject([
      {
        status: 200,
        tokens: { input: dialect === 'anthropic' || dialect === 'gemini' ? 20 : null, output: null },
        costMicrodollars: null,
        error: expect.stringContaining('broke in the middle'),
      },
    ]);
  });

  test('an event that is cut is ended, so that the error after it is read', async () => {
    const { gateway } = await before(dialect, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"type":"pi', () => response.destroy());
    });
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got.text).toMatch(/^data: \{"type":"pi\n\n(event: \S+\n)?data: \{.*broke in the middle.*\}\n\n$/);
  });

  test('a stream that stalls ends in an error and a cut', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: one two, delta_chars: 4, stall_after: 1 }', {
      timeouts: { idle: 150 },
    });
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got.cut).toBe(true);
    expect(got.text).toMatch(/nothing came for 0\.15 s/);
    expect(await upstream.requests[0]!.closed).toBe(false);
    expect(await gateway.recorded(1)).toMatchObject([
      { status: 200, error: expect.stringContaining('stopped in the middle') },
    ]);
  });

  test('a stream that only says that it is there is ended', async () => {
    const { gateway, upstream } = await before(
      dialect,
      (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        const pings = setInterval(() => response.write(': still here\n\n'), 20);
        response.on('close', () => clearInterval(pings));
      },
      { timeouts: { idle: 10_000, whole: 200 } },
    );
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got).toMatchObject({ cut: true, text: expect.stringContaining('was not done after 0.2 s') });
    expect(await upstream.requests[0]!.closed).toBe(false);
    expect(await gateway.recorded(1)).toMatchObject([
      { costMicrodollars: null, error: expect.stringContaining('done') },
    ]);
  });

  test('redirects that go round are not followed', async () => {
    const { gateway, upstream } = await before(dialect, (request, response) => {
      const hops = Number(new URL(request.url ?? '', 'http://x').searchParams.get('hop') ?? 0) + 1;
      response.writeHead(307, { location: `${request.url?.split('?')[0]}?hop=${hops}` }).end();
    });
    for (let time = 0; time < 10; time++) expect((await post(gateway.baseUrl, dialect)).status).toBe(502);
    expect(upstream.requests.filter(({ url }) => url.includes('hop='))).toEqual([]);
    expect(upstream.requests).toHaveLength(10);
    expect((await gateway.recorded(10)).every((call) => call.costMicrodollars === 0)).toBe(true);
  });

  test('a client that leaves ends the call upstream', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: one two, delta_chars: 4, stall_after: 1 }');
    const leaving = new AbortController();
    const response = await send(gateway.baseUrl, dialect, { stream: true }, { signal: leaving.signal });
    const reader = response.body!.getReader();
    await reader.read();
    leaving.abort();
    await expect(reader.read()).rejects.toThrow('aborted');
    expect(await upstream.requests[0]!.closed).toBe(false);
    expect(await gateway.recorded(1)).toMatchObject([
      { status: 200, tokens: { output: null }, error: 'The agent closed its connection before the answer was over.' },
    ]);
  });

  test('a client that leaves before the answer begins ends the call upstream', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: one, first_delay_ms: 3600000 }');
    const leaving = new AbortController();
    const asked = send(gateway.baseUrl, dialect, {}, { signal: leaving.signal });
    await expect.poll(() => upstream.requests.length).toBe(1);
    leaving.abort();
    await expect(asked).rejects.toThrow('aborted');
    expect(await upstream.requests[0]!.closed).toBe(false);
    expect(await gateway.recorded(1)).toMatchObject([
      { status: 499, tokens: { input: null, output: null }, costMicrodollars: null },
    ]);
  });

  test.each([
    [
      'a login page',
      200,
      { 'content-type': 'text/html' },
      '<html>Log in</html>',
      502,
      'answered 200 with text/html: <html>Log in</html>',
    ],
    ['nothing', 200, {}, '', 502, 'no content type and nothing in it'],
    ['JSON that is none', 200, { 'content-type': 'application/json' }, 'garbage', 502, 'application/json: garbage'],
    ['JSON that is a list', 200, { 'content-type': 'application/json' }, '[]', 502, 'application/json: []'],
    [
      'a page for a wrong path',
      404,
      { 'content-type': 'text/plain' },
      '404 page not found',
      502,
      'answered 404 with text/plain: 404 page not found',
    ],
    [
      'a page of a proxy',
      503,
      { 'content-type': 'text/html', 'retry-after': '9' },
      `<h1>${KEY}</h1>`,
      503,
      'answered 503 with text/html: <h1>[redacted: key of the provider]</h1>',
    ],
    [
      'a packed answer',
      200,
      { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      gzipSync('{}'),
      502,
      'an answer in gzip',
    ],
    [
      'a redirect',
      307,
      { location: 'https://other.example/v1?token=secret' },
      '',
      502,
      'redirects to https://other.example/v1,',
    ],
    ['a redirect to nowhere', 302, {}, '', 502, 'nowhere in particular'],
    [
      'a refusal that is a page',
      403,
      { 'content-type': 'text/html' },
      '<html>',
      403,
      "refused AIdeator's key: text/html",
    ],
  ])('%s instead of an answer becomes an error of the dialect', async (_, status, headers, body, expected, message) => {
    const { gateway, upstream } = await before(
      dialect,
      (_request, response) => void response.writeHead(status, headers).end(body),
      { patienceMs: 0 },
    );
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got.status).toBe(expected);
    const error = errorIn(got.text);
    expect(error.message).toContain(message);
    expect(error.code).toMatch(/^provider_(error|key_refused)$/);
    expect(got.text).not.toMatch(/secret|canary/);
    expect(got.headers.get('retry-after')).toBe(status === 503 ? '9' : null);
    expect(upstream.requests).toHaveLength(1);
    expect(await gateway.recorded(1)).toMatchObject([
      { status: expected, error: expect.stringContaining(expected === 403 ? 'provider refused the key' : message) },
    ]);
  });
});
