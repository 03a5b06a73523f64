import { request as httpRequest, type IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import {
  before,
  beforeScript,
  dialects,
  errorIn,
  keyed,
  KEY,
  keyHeader,
  mountGateway,
  pathOf,
  post,
  requestOf,
  send,
} from '../../test/support/gateway.ts';
import { startServer } from '../../test/support/model-server.ts';
import { dialectNames, type Dialect } from './dialect.ts';

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
  responses: [
    'event: response.created\r\ndata: {"type":"response.created","response":{"status":"in_progress","usage":null}}\r\n\r\n',
    'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"日本 𝔘"}\n\n: ping\n\n',
    'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed","service_tier":"default","output":[{"type":"message"}],"usage":{"input_tokens":15,"output_tokens":7,"input_tokens_details":{"cached_tokens":3}}}}\n\n',
  ].join(''),
  gemini: [
    'data: {"candidates":[{"content":{"parts":[{"text":"日本 𝔘"}],"role":"model"}}],"usageMetadata":{"promptTokenCount":15,"cachedContentTokenCount":3}}\r\n\r\n: ping\n\n',
    'data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":15,"cachedContentTokenCount":3,"candidatesTokenCount":5,"thoughtsTokenCount":2}}\r\n\r\n',
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
        waitedMs: 0,
        error: null,
        code: null,
      },
    ]);
  });

  test('an event is passed on before the next one comes', async () => {
    const { gateway, upstream } = await before(dialect, (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
    });
    const response = await send(gateway.baseUrl, dialect, { stream: true });
    const reader = response.body!.getReader();
    for (const event of ['data: {"a":1}\n\n', 'data: {"a":2}\n\n']) {
      upstream.requests[0]!.response.write(event);
      expect(Buffer.from((await reader.read()).value).toString()).toBe(event);
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
      dialect === 'gemini' ? '{"z":[1.0,{"model":"p/m"}]}' : '{"z":[1.0,{"model":"p/m"}],"model" : "p/m"}',
      {
        authorization: 'Bearer dummy',
        'x-api-key': 'dummy',
        'x-goog-api-key': 'dummy',
        cookie: 'c=1',
        'proxy-authorization': 'x',
        te: 'trailers',
        'x-other': '1',
        'anthropic-version': '2099-01-01',
        'anthropic-beta': 'b1,b2',
        'accept-encoding': 'gzip',
        'user-agent': 'harness/1',
      },
      '?beta=true&key=dummy',
    );
    const seen = upstream.requests[0]!;
    expect(await seen.body).toBe(
      dialect === 'gemini' ? '{"z":[1.0,{"model":"p/m"}]}' : '{"z":[1.0,{"model":"p/m"}],"model" : "m"}',
    );
    expect(seen.url).toBe(`${pathOf(dialect)}?beta=true`);
    const { host: _host, 'content-length': _length, accept: _accept, ...headers } = seen.headers;
    expect(headers).toEqual({
      'content-type': 'application/json',
      'accept-encoding': 'identity',
      'user-agent': 'harness/1',
      connection: 'keep-alive',
      ...keyHeader(dialect, KEY),
      ...(dialect === 'anthropic' ? { 'anthropic-version': '2099-01-01', 'anthropic-beta': 'b1,b2' } : {}),
    });
  });

  test('usage of a stream is asked for where the protocol must be asked', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: Hello., usage: { input: 20, output: 4 } }');
    await post(gateway.baseUrl, dialect, { stream: true });
    expect(JSON.parse(await upstream.requests[0]!.body)).toEqual({
      ...JSON.parse(requestOf(dialect, { stream: true }).body),
      ...(dialect === 'openai' ? { stream_options: { include_usage: true } } : {}),
    });
    expect(await gateway.recorded(1)).toMatchObject([{ tokens: { input: 20, output: 4 } }]);
  });

  test('another model is refused, and the provider never asked', async () => {
    const { gateway, upstream } = await beforeScript(dialect, '{ text: Hello. }');
    const got = await post(gateway.baseUrl, dialect, { model: 'other' });
    expect(got.status).toBe(403);
    expect(errorIn(got.text)).toEqual({
      code: 'model_not_allowed',
      message: 'This attempt may use p/m, not other.',
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
    const other = dialect === 'anthropic' ? 'gemini' : 'anthropic';
    const gateway = await mountGateway('p/m', { providers: { p: keyed(other, upstream) } });
    const got = await post(gateway.baseUrl, dialect);
    expect(got.status).toBe(400);
    expect(JSON.parse(got.text).error.message).toContain(`not ${dialectNames[dialect]}`);
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
    // Nobody reads on for ever to be polite: what is larger still is cut off.
    const huge = post(gateway.baseUrl, dialect, { filler: 'x'.repeat(20_000_000) });
    await Promise.allSettled([huge]);
    expect((await gateway.recorded(3)).map((call) => call.status)).toEqual([400, 413, 413]);
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
    await expect.poll(() => written, { timeout: 20_000 }).toBeGreaterThan(held + 16 * 1024 * 1024);
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
