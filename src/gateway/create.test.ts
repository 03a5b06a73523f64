import { request as httpRequest, type IncomingMessage, type RequestListener } from 'node:http';
import { connect, createServer as createTcpServer, type AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { mountGateway, providerAt, type MountedGateway } from '../../test/support/gateway.ts';
import { startModelServer, startServer, type TestServer } from '../../test/support/model-server.ts';
import { createGateway } from './create.ts';
import type { Dialect } from './dialect.ts';
import type { ProviderConfig } from './gateway.ts';
import { loadPrices } from './prices.ts';
import { parseScript } from './scripted/script.ts';

const KEY = 'sk-canary-7f3b1d5e9a2c4680';
const paths = { anthropic: '/v1/messages', openai: '/v1/chat/completions' } as const;
const dialects = ['anthropic', 'openai'] as const;

interface Got {
  status: number;
  headers: Headers;
  text: string;
  /** Whether the answer was cut off. */
  cut: boolean;
}

async function post(
  at: string,
  dialect: Dialect,
  body: unknown = {},
  headers: Record<string, string> = {},
  query = '',
): Promise<Got> {
  const sent =
    typeof body === 'string'
      ? body
      : JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x' }], ...(body as object) });
  const response = await fetch(`${at}${paths[dialect]}${query}`, {
    method: 'POST',
    body: sent,
    headers: { 'content-type': 'application/json', ...headers },
    redirect: 'manual',
  });
  const chunks: Uint8Array[] = [];
  let cut = false;
  try {
    for await (const chunk of response.body ?? []) chunks.push(chunk);
  } catch {
    cut = true;
  }
  return { status: response.status, headers: response.headers, text: Buffer.concat(chunks).toString('utf8'), cut };
}

const keyed = (kind: Dialect, server: TestServer): ProviderConfig =>
  providerAt(kind, kind === 'anthropic' ? server.baseUrl : `${server.baseUrl}/v1`, {
    key: KEY,
    keyFrom: 'environment TEST_KEY',
    keyNeeded: true,
  });

async function before(
  dialect: Dialect,
  listener: RequestListener,
  deps: Partial<Parameters<typeof mountGateway>[1]> = {},
): Promise<{ gateway: MountedGateway; upstream: TestServer }> {
  const upstream = await startServer(listener);
  const gateway = await mountGateway('p/m', { providers: { p: keyed(dialect, upstream) }, ...deps });
  return { gateway, upstream };
}

async function beforeScript(
  dialect: Dialect,
  turn: string,
  deps: Partial<Parameters<typeof mountGateway>[1]> = {},
): Promise<{ gateway: MountedGateway; upstream: TestServer }> {
  const upstream = await startModelServer(`models:\n  m:\n    turns:\n      - ${turn}\n`, { key: KEY });
  const gateway = await mountGateway('p/m', { providers: { p: keyed(dialect, upstream) }, ...deps });
  return { gateway, upstream };
}

const streams: Record<Dialect, string> = {
  anthropic: [
    'event: message_start\r\ndata: {"type":"message_start","message":{"usage":{"input_tokens":12,"output_tokens":1,"cache_read_input_tokens":3,"cache_creation_input_tokens":0}}}\r\n\r\n',
    'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"日本 𝔘"}}\n\n: ping\n\n',
    'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
  ].join(''),
  openai: [
    'data: {"choices":[{"delta":{"content":"日本 𝔘"},"finish_reason":null}]}\r\n\r\n',
    'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n: ping\n\n',
    'data: {"choices":[],"usage":{"prompt_tokens":15,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":3}}}\n\ndata: [DONE]\n\n',
  ].join(''),
};

describe.each(dialects)('%s', (dialect) => {
  test('bytes pass unchanged, as they come, and are metered', async () => {
    const bytes = Buffer.from(streams[dialect]);
    const { gateway } = await before(dialect, async (_, response) => {
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'set-cookie': 'a=b',
        'x-request-id': 'req-1',
        'x-account': 'secret',
      });
      for (let at = 0; at < bytes.length; at += 7) {
        response.write(bytes.subarray(at, at + 7));
        await new Promise(setImmediate);
      }
      response.end();
    });
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got).toMatchObject({ status: 200, text: streams[dialect], cut: false });
    expect(got.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(got.headers.get('x-request-id')).toBe('req-1');
    expect(got.headers.get('set-cookie')).toBeNull();
    expect(got.headers.get('x-account')).toBeNull();
    expect(await gateway.recorded(1)).toEqual([
      {
        at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        provider: 'p',
        model: 'p/m',
        dialect,
        status: 200,
        tokens: { input: 12, output: 7, cacheRead: 3, cacheWrite: dialect === 'anthropic' ? 0 : null },
        costMicrodollars: null,
        durationMs: expect.any(Number),
        error: null,
      },
    ]);
  });

  test('an event is passed on before the next one comes', async () => {
    const { gateway, upstream } = await before(dialect, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
    });
    const response = await fetch(`${gateway.baseUrl}${paths[dialect]}`, {
      method: 'POST',
      body: '{"model":"m","stream":true}',
    });
    const reader = response.body!.getReader();
    for (const event of ['data: {"a":1}\n\n', 'data: {"a":2}\n\n']) {
      upstream.requests[0]!.response.write(event);
      expect(Buffer.from((await reader.read()).value!).toString()).toBe(event);
    }
    upstream.requests[0]!.response.end(streams[dialect]);
    await reader.cancel();
  });

  test('a body that is no stream passes unchanged and is metered', async () => {
    const { gateway } = await beforeScript(dialect, '{ text: Hello., usage: { input: 20, output: 4, cache_read: 5 } }');
    const got = await post(gateway.baseUrl, dialect);
    expect(got.status).toBe(200);
    expect(got.text).toContain('Hello.');
    expect(await gateway.recorded(1)).toMatchObject([
      { status: 200, tokens: { input: 20, output: 4, cacheRead: 5 }, error: null },
    ]);
  });

  test('the provider gets its own model name, its key, and nothing of the client but its protocol', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: Hello. }');
    await post(
      gateway.baseUrl,
      dialect,
      '{"z":[1.0,{"model":"p/m"}],"model" : "p/m"}',
      {
        authorization: 'Bearer dummy',
        'x-api-key': 'dummy',
        cookie: 'c=1',
        'proxy-authorization': 'x',
        te: 'trailers',
        'x-other': '1',
        'anthropic-version': '2099-01-01',
        'anthropic-beta': 'b1,b2',
        'accept-encoding': 'gzip',
        'user-agent': 'harness/1',
      },
      '?beta=true',
    );
    const seen = upstream.requests[0]!;
    expect(await seen.body).toBe('{"z":[1.0,{"model":"p/m"}],"model" : "m"}');
    expect(seen.url).toBe(`${paths[dialect]}?beta=true`);
    const { host: _host, 'content-length': _length, accept: _accept, ...headers } = seen.headers;
    expect(headers).toEqual({
      'content-type': 'application/json',
      'accept-encoding': 'identity',
      'user-agent': 'harness/1',
      connection: 'keep-alive',
      ...(dialect === 'anthropic'
        ? { 'x-api-key': KEY, 'anthropic-version': '2099-01-01', 'anthropic-beta': 'b1,b2' }
        : { authorization: `Bearer ${KEY}` }),
    });
  });

  test('usage of a stream is asked for where the protocol must be asked', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: Hello., usage: { input: 20, output: 4 } }');
    await post(gateway.baseUrl, dialect, { stream: true });
    expect(JSON.parse(await upstream.requests[0]!.body)).toEqual({
      model: 'm',
      messages: [{ role: 'user', content: 'x' }],
      stream: true,
      ...(dialect === 'openai' ? { stream_options: { include_usage: true } } : {}),
    });
    expect(await gateway.recorded(1)).toMatchObject([{ tokens: { input: 20, output: 4 } }]);
  });

  test('another model is refused, and the provider never asked', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: Hello. }');
    const got = await post(gateway.baseUrl, dialect, { model: 'other' });
    expect(got.status).toBe(403);
    expect(JSON.parse(got.text)).toMatchObject({
      error: { code: 'model_not_allowed', type: expect.any(String), message: 'This attempt may use p/m, not other.' },
    });
    expect(upstream.requests).toHaveLength(0);
    // Nothing was asked of a model, so it is known that nothing was spent.
    expect(await gateway.recorded(1)).toMatchObject([
      {
        status: 403,
        tokens: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
        costMicrodollars: 0,
        error: 'This attempt may use p/m, not other.',
      },
    ]);
  });

  test('a provider of the other protocol is named as one', async () => {
    const upstream = await startServer((_, response) => response.end());
    const other = dialect === 'anthropic' ? 'openai' : 'anthropic';
    const gateway = await mountGateway('p/m', { providers: { p: keyed(other, upstream) } });
    const got = await post(gateway.baseUrl, dialect);
    expect(got.status).toBe(400);
    expect(JSON.parse(got.text).error.message).toContain(
      `not ${dialect === 'anthropic' ? 'Anthropic Messages' : 'OpenAI Chat Completions'}`,
    );
    expect(upstream.requests).toHaveLength(0);
  });

  test('a body that is none, or too large, is refused in the dialect', async () => {
    const { gateway } = await beforeScript(dialect, '{ text: Hello. }', { maxRequestBytes: 1000 });
    expect(await post(gateway.baseUrl, dialect, 'nonsense')).toMatchObject({
      status: 400,
      text: expect.stringContaining('invalid_json'),
    });
    const large = await post(gateway.baseUrl, dialect, { filler: 'x'.repeat(3000) });
    expect(large.status).toBe(413);
    expect(JSON.parse(large.text).error.message).toContain('larger than 1000 bytes');
    expect((await gateway.recorded(2)).map((call) => call.status)).toEqual([400, 413]);
  });

  test('a refused key is said with its status, never the key', async () => {
    const { gateway } = await before(dialect, (_, response) => {
      response.writeHead(401, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ error: { type: 'authentication_error', message: `Incorrect API key provided: ${KEY}` } }),
      );
    });
    const got = await post(gateway.baseUrl, dialect);
    expect(got.status).toBe(401);
    expect(JSON.parse(got.text)).toMatchObject({
      error: { code: 'provider_key_refused', message: expect.stringContaining('Incorrect API key provided: ***') },
    });
    const [call] = await gateway.recorded(1);
    expect(call?.error).toMatch(/^provider refused the key \(from environment TEST_KEY\): 401/);
    expect(got.text + JSON.stringify(call)).not.toContain(KEY);
  });

  test('an error of the provider passes, without the key, with its wait', async () => {
    const { gateway } = await before(dialect, (_, response) => {
      response.writeHead(529, { 'content-type': 'application/json', 'retry-after': '3', 'x-echo': KEY });
      response.end(
        JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: `Overloaded for ${KEY}` } }),
      );
    });
    const got = await post(gateway.baseUrl, dialect);
    expect(got).toMatchObject({
      status: 529,
      text: JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded for ***' } }),
    });
    expect(got.headers.get('retry-after')).toBe('3');
    expect(await gateway.recorded(1)).toMatchObject([
      { status: 529, error: 'provider answered 529: overloaded_error: Overloaded for ***', costMicrodollars: 0 },
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
    expect(got.text).toMatch(/data: \{[^\n]*broke in the middle[^\n]*\}\n\n$/);
    expect(await gateway.recorded(1)).toMatchObject([
      {
        status: 200,
        tokens: { input: dialect === 'anthropic' ? 20 : null, output: null },
        costMicrodollars: null,
        error: expect.stringContaining('broke in the middle'),
      },
    ]);
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

  test('a client that leaves ends the call upstream', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: one two, delta_chars: 4, stall_after: 1 }');
    const leaving = new AbortController();
    const response = await fetch(`${gateway.baseUrl}${paths[dialect]}`, {
      method: 'POST',
      body: '{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}',
      signal: leaving.signal,
    });
    const reader = response.body!.getReader();
    await reader.read();
    leaving.abort();
    await expect(reader.read()).rejects.toThrow();
    expect(await upstream.requests[0]!.closed).toBe(false);
    expect(await gateway.recorded(1)).toMatchObject([
      { status: 200, tokens: { output: null }, error: 'The agent closed its connection before the answer was over.' },
    ]);
  });

  test('a client that leaves before the answer begins ends the call upstream', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: one, first_delay_ms: 3600000 }');
    const leaving = new AbortController();
    const asked = fetch(`${gateway.baseUrl}${paths[dialect]}`, {
      method: 'POST',
      body: '{"model":"m","messages":[{"role":"user","content":"x"}]}',
      signal: leaving.signal,
    });
    await expect.poll(() => upstream.requests.length).toBe(1);
    leaving.abort();
    await expect(asked).rejects.toThrow();
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
      'answered 503 with text/html: <h1>***</h1>',
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
    );
    const got = await post(gateway.baseUrl, dialect, { stream: true });
    expect(got.status).toBe(expected);
    const { error } = JSON.parse(got.text) as { error: { message: string; code: string } };
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

describe('a client that does not read', () => {
  test('holds up the provider, not memory', async () => {
    let written = 0;
    const piece = Buffer.from(`data: ${'x'.repeat(65_000)}\n\n`);
    const { gateway, upstream } = await before('openai', (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const more = (): void => {
        while (!response.destroyed) {
          written += piece.length;
          if (!response.write(piece)) break;
        }
      };
      response.on('drain', more);
      more();
    });
    const client = httpRequest(`${gateway.baseUrl}/v1/chat/completions`, { method: 'POST' });
    const answer = new Promise<IncomingMessage>((resolve) => void client.on('response', resolve));
    client.on('error', () => undefined);
    client.end('{"model":"m","stream":true}');
    const response = await answer;
    response.on('error', () => undefined);
    response.pause();
    const standstill = async (): Promise<number> => {
      for (let last = -1; last !== written;) {
        last = written;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      return written;
    };
    // What the kernel's socket buffers take, twice, and a few chunks.
    const held = await standstill();
    expect(held).toBeLessThan(32 * 1024 * 1024);
    // Reading again sets it going again.
    response.resume();
    await expect.poll(() => written).toBeGreaterThan(held + 64 * 1024 * 1024);
    client.destroy();
    expect(await upstream.requests[0]!.closed).toBe(false);
    await gateway.recorded(1);
  });

  test('is let go after a while', async () => {
    const piece = Buffer.from(`data: ${'x'.repeat(65_000)}\n\n`);
    const { gateway, upstream } = await before(
      'openai',
      (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        const more = (): void => {
          while (!response.destroyed && response.write(piece));
        };
        response.on('drain', more);
        more();
      },
      { timeouts: { idle: 300 } },
    );
    const client = httpRequest(`${gateway.baseUrl}/v1/chat/completions`, { method: 'POST' });
    client.on('error', () => undefined);
    client.on('response', (response) => {
      response.on('error', () => undefined);
      response.pause();
    });
    client.end('{"model":"m","stream":true}');
    expect(await gateway.recorded(1)).toMatchObject([{ error: 'The agent read nothing of the answer for 0.3 s.' }]);
    expect(await upstream.requests[0]!.closed).toBe(false);
    client.destroy();
  });
});

describe('a provider that cannot be reached', () => {
  test('is named with why and what to do, and nothing was spent', async () => {
    const gone = await startServer(() => undefined);
    await gone.close();
    const gateway = await mountGateway('p/m', { providers: { p: keyed('openai', gone) } });
    const got = await post(gateway.baseUrl, 'openai');
    expect(got.status).toBe(502);
    expect(JSON.parse(got.text).error.message).toMatch(
      /cannot be reached at http:\/\/127\.0\.0\.1:\d+\/v1 \(ECONNREFUSED\).*providers\.p\.base_url/,
    );
    expect(await gateway.recorded(1)).toMatchObject([{ status: 502, tokens: { input: 0 }, costMicrodollars: 0 }]);
  });

  test('that speaks no TLS, or says nothing at all, is given up', async () => {
    const silent = createTcpServer((socket) => void socket.on('error', () => undefined));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void silent.close());
    const { port } = silent.address() as AddressInfo;
    const plain = await startServer((_, response) => response.end());
    const providers = {
      tls: providerAt('openai', plain.baseUrl.replace('http:', 'https:')),
      mute: providerAt('openai', `https://127.0.0.1:${port}/v1`),
      slow: providerAt('openai', `http://127.0.0.1:${port}/v1`),
    };
    const timeouts = { connect: 150, firstByte: 200 };
    const messages: Record<string, string> = {};
    for (const name of Object.keys(providers)) {
      const gateway = await mountGateway(`${name}/m`, { providers, timeouts });
      const got = await post(gateway.baseUrl, 'openai');
      messages[name] = `${got.status} ${(JSON.parse(got.text) as { error: { message: string } }).error.message}`;
    }
    expect(messages['tls']).toMatch(/^502 .*cannot be reached/);
    expect(messages['mute']).toMatch(/^504 .*could not be connected to within 0\.15 s/);
    expect(messages['slow']).toMatch(/^504 .*did not begin to answer within 0\.2 s/);
  });

  test('is asked once more where it closed a resting connection', async () => {
    const sockets = new Map<unknown, number>();
    const { gateway, upstream } = await before('openai', (request, response) => {
      const uses = (sockets.get(request.socket) ?? 0) + 1;
      sockets.set(request.socket, uses);
      if (uses > 1) request.socket.resetAndDestroy();
      else response.writeHead(200, { 'content-type': 'application/json' }).end('{"choices":[]}');
    });
    expect((await post(gateway.baseUrl, 'openai')).status).toBe(200);
    expect((await post(gateway.baseUrl, 'openai')).status).toBe(200);
    expect(upstream.requests).toHaveLength(3);
    expect(await gateway.recorded(2)).toHaveLength(2);
  });

  test('is reached through the proxy of the environment', async () => {
    const proxy = await startServer(
      (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"choices":[]}'),
    );
    const gateway = await mountGateway('p/m', {
      providers: { p: providerAt('openai', 'http://models.example/v1') },
      proxyEnv: { HTTP_PROXY: proxy.baseUrl },
    });
    expect((await post(gateway.baseUrl, 'openai')).status).toBe(200);
    expect(proxy.requests[0]?.url).toBe('http://models.example/v1/chat/completions');
  });
});

describe('the gateway itself', () => {
  const script = parseScript(
    'models:\n  careful:\n    price: { input: 3000000, output: 15000000 }\n    turns: [{ text: one two three, usage: { input: 1000, output: 100 } }]\n  cutting:\n    turns: [{ text: one two three, delta_chars: 4, cut_after: 1 }]\n',
  );
  const providers = {
    scripted: providerAt('scripted', ''),
    keyless: providerAt('openai', 'http://127.0.0.1:1/v1', { keyNeeded: true, keyFrom: 'environment TEST_KEY' }),
    vague: providerAt('anthropic', 'http://127.0.0.1:1', { keyNeeded: true }),
    empty: providerAt('scripted', ''),
  };

  test.each(dialects)("answers from a script in process, at the script's price: %s", async (dialect) => {
    const gateway = await mountGateway('scripted/careful', { providers, scripts: { scripted: script } });
    for (const stream of [true, false]) {
      const got = await post(gateway.baseUrl, dialect, { model: 'scripted/careful', stream });
      expect(got).toMatchObject({ status: 200, cut: false, text: expect.stringContaining('three') });
    }
    expect(await gateway.recorded(2)).toMatchObject(
      Array.from({ length: 2 }, () => ({
        provider: 'scripted',
        tokens: { input: 1000, output: 100 },
        costMicrodollars: 4500,
        error: null,
      })),
    );
  });

  test('cuts where a script cuts', async () => {
    const gateway = await mountGateway('scripted/cutting', { providers, scripts: { scripted: script } });
    const got = await post(gateway.baseUrl, 'openai', { model: 'cutting', stream: true });
    expect(got).toMatchObject({ cut: true, text: expect.stringContaining('broke in the middle') });
    const whole = await fetch(`${gateway.baseUrl}/v1/chat/completions`, {
      method: 'POST',
      body: '{"model":"cutting","messages":[{"role":"user","content":"x"}]}',
    });
    await expect(whole.text()).rejects.toThrow();
    expect((await gateway.recorded(2)).map((call) => call.costMicrodollars)).toEqual([null, null]);
  });

  test('says before a run whether a model can be used', () => {
    const gateway = createGateway({
      providers: { ...providers, ok: providerAt('anthropic', 'http://127.0.0.1:1') },
      prices: loadPrices(),
      scripts: { scripted: script },
    });
    expect(gateway.check('scripted/careful')).toBe('both');
    expect(gateway.check('ok/some/model')).toBe('anthropic');
    const refusal = (model: string): unknown => {
      try {
        return gateway.check(model);
      } catch (error) {
        return error;
      }
    };
    for (const model of ['nothing', '/x', 'ok/', 'other/m', 'constructor/m', 'scripted/other', 'empty/m']) {
      expect(refusal(model), model).toMatchObject({ code: 'unknown_model', hint: expect.any(String) });
    }
    expect(refusal('keyless/m')).toMatchObject({
      code: 'provider_key_missing',
      message: expect.stringContaining('environment TEST_KEY'),
    });
    expect(refusal('vague/m')).toMatchObject({
      code: 'provider_key_missing',
      hint: expect.stringContaining('providers.vague.key_env'),
    });
  });

  test('says at the call where a key is missing', async () => {
    const gateway = await mountGateway('keyless/m', { providers });
    const got = await post(gateway.baseUrl, 'openai');
    expect(got).toMatchObject({ status: 422, text: expect.stringContaining('provider_key_missing') });
  });

  test('has two routes, and they take POST', async () => {
    const gateway = await mountGateway('scripted/careful', { providers, scripts: { scripted: script } });
    const lost = await fetch(`${gateway.baseUrl}/v1/messages/count_tokens`, { method: 'POST', body: '{}' });
    expect([lost.status, await lost.json()]).toMatchObject([
      404,
      { type: 'error', error: { type: 'not_found_error' } },
    ]);
    const got = await fetch(`${gateway.baseUrl}/v1/chat/completions`);
    expect([got.status, await got.json()]).toMatchObject([405, { error: { code: 'method_not_allowed' } }]);
  });

  test('ends what is under way when it closes, and takes nothing more', async () => {
    const { gateway, upstream } = await beforeScript('openai', '{ text: one two, delta_chars: 4, stall_after: 1 }');
    const asked = post(gateway.baseUrl, 'openai', { stream: true });
    await expect.poll(() => upstream.requests.length).toBe(1);
    await gateway.gateway.close();
    // Whether the answer had begun or not, its end says why.
    expect((await asked).text).toContain('shutting down');
    expect(await post(gateway.baseUrl, 'openai')).toMatchObject({ status: 503 });
    expect((await gateway.recorded(2)).map((call) => call.error)).toEqual([
      'AIdeator is shutting down.',
      'AIdeator is shutting down.',
    ]);
  });

  test('warns of calls that failed, without a secret', async () => {
    const warned: unknown[] = [];
    const { gateway } = await before(
      'openai',
      (_, response) =>
        void response.writeHead(500, { 'content-type': 'application/json' }).end(`{"error":{"message":"bad ${KEY}"}}`),
      {
        log: { warn: (facts, message) => void warned.push([facts, message]) },
      },
    );
    await post(gateway.baseUrl, 'openai');
    expect(await gateway.recorded(1)).toMatchObject([{ status: 500, tokens: { input: null }, costMicrodollars: null }]);
    expect(warned).toEqual([
      [
        { attempt: 'attempt-1', model: 'p/m', status: 500, error: 'provider answered 500: bad ***' },
        'model call failed',
      ],
    ]);
  });

  test('keeps the password of a base URL to itself, and uses it', async () => {
    const { gateway: none, upstream } = await before(
      'openai',
      (_, response) => void response.writeHead(404, { 'content-type': 'text/plain' }).end('pass-word-of-many-letters'),
    );
    await none.gateway.close();
    const baseUrl = upstream.baseUrl.replace('://', '://user:pass-word-of-many-letters@');
    const gateway = await mountGateway('p/m', { providers: { p: providerAt('openai', baseUrl) } });
    const got = await post(gateway.baseUrl, 'openai');
    expect(upstream.requests[0]?.headers.authorization).toMatch(/^Basic /);
    expect(got.text + JSON.stringify(await gateway.recorded(1))).not.toContain('pass-word');
  });

  test('records a client that leaves in the middle of its request', async () => {
    const { gateway } = await beforeScript('openai', '{ text: one }');
    const socket = connect(Number(new URL(gateway.baseUrl).port), '127.0.0.1');
    socket.write('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{"model"');
    setTimeout(() => socket.destroy(), 50);
    expect(await gateway.recorded(1)).toMatchObject([
      { status: 499, tokens: { input: 0 }, error: expect.stringContaining('closed its connection') },
    ]);
  });
});
