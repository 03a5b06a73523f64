import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import {
  before,
  beforeScript,
  dialects,
  errorIn,
  KEY,
  mountGateway,
  post,
  providerAt,
  requestOf,
} from '../../test/support/gateway.ts';
import { createGateway } from './create.ts';
import { loadPrices } from './prices.ts';
import { parseScript } from './scripted/script.ts';

describe('the gateway itself', () => {
  const script = parseScript(
    'models:\n  careful:\n    price: { input: 3000000, output: 15000000 }\n    turns: [{ text: one two three, usage: { input: 1000, output: 100 } }]\n  cutting:\n    turns: [{ text: one two three, delta_chars: 4, cut_after: 1 }]\n',
  );
  const providers = {
    scripted: providerAt('scripted', ''),
    hollow: providerAt('openai', 'http://127.0.0.1:1/v1', { keyNeeded: true, keyFrom: 'file /a key' }),
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
    await expect(whole.text()).rejects.toThrow('terminated');
    expect((await gateway.recorded(2)).map((call) => call.costMicrodollars)).toEqual([null, null]);
  });

  test('says before a run whether a model can be used', () => {
    const gateway = createGateway({
      providers: { ...providers, ok: providerAt('anthropic', 'http://127.0.0.1:1') },
      prices: loadPrices(),
      scripts: { scripted: script },
    });
    expect(gateway.check('scripted/careful')).toEqual(dialects);
    expect(gateway.check('ok/some/model')).toEqual(['anthropic']);
    const refusal = (model: string): unknown => {
      try {
        return gateway.check(model);
      } catch (error) {
        return error;
      }
    };
    for (const model of ['nothing', '/x', 'ok/', 'other/m', 'constructor/m', 'scripted/other', 'empty/m']) {
      expect([model, refusal(model)]).toMatchObject([model, { code: 'unknown_model', hint: expect.any(String) }]);
    }
    expect(refusal('keyless/m')).toMatchObject({
      code: 'provider_key_missing',
      hint: expect.stringContaining('Set TEST_KEY where the server is started'),
    });
    expect(refusal('hollow/m')).toMatchObject({ hint: expect.stringContaining('Put it into /a key') });
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

  test('has its routes, and they take POST', async () => {
    const gateway = await mountGateway('scripted/careful', { providers, scripts: { scripted: script } });
    const lost = await fetch(`${gateway.baseUrl}/v1/messages/batches`, { method: 'POST', body: '{}' });
    expect([lost.status, await lost.json()]).toMatchObject([
      404,
      { type: 'error', error: { type: 'not_found_error' } },
    ]);
    const got = await fetch(`${gateway.baseUrl}/v1/chat/completions`);
    expect([got.status, await got.json()]).toMatchObject([405, { error: { code: 'method_not_allowed' } }]);
  });

  test('passes on how many tokens a request has, at no cost', async () => {
    for (const [dialect, path, said] of [
      ['anthropic', '/v1/messages/count_tokens', { input_tokens: 3 }],
      ['gemini', '/v1beta/models/m:countTokens', { totalTokens: 3 }],
    ] as const) {
      const { gateway, upstream } = await beforeScript(dialect, '{ text: one }');
      const body = requestOf(dialect, { messages: [{ role: 'user', content: '12345678' }] }).body;
      const counted = await fetch(`${gateway.baseUrl}${path}`, { method: 'POST', body });
      expect([counted.status, await counted.json()]).toEqual([200, said]);
      expect(upstream.requests[0]?.url).toBe(path);
      expect(await gateway.recorded(1)).toMatchObject([{ status: 200, tokens: { input: 0 }, costMicrodollars: 0 }]);
    }
  });

  test('takes no stream that is none, no background and no second model', async () => {
    const { gateway } = await beforeScript('gemini', '{ text: one }');
    const refused = async (path: string, body: string): Promise<unknown> => {
      const response = await fetch(`${gateway.baseUrl}${path}`, { method: 'POST', body });
      return [response.status, (await response.text()).match(/alt=sse|another model|background/)?.[0]];
    };
    expect(await refused('/v1beta/models/m:streamGenerateContent', '{}')).toEqual([400, 'alt=sse']);
    expect(await refused('/v1beta/models/m:generateContent', '{"model":"other"}')).toEqual([400, 'another model']);
    const { gateway: openai } = await beforeScript('responses', '{ text: one }');
    const got = await post(openai.baseUrl, 'responses', { background: true });
    expect([got.status, got.text]).toEqual([400, expect.stringContaining('background')]);
  });

  test('says of a wrong key of Gemini that it is one', async () => {
    const { gateway } = await before('gemini', (_, response) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end('{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}');
    });
    const got = await post(gateway.baseUrl, 'gemini');
    expect([got.status, errorIn(got.text).code]).toEqual([401, 'provider_key_refused']);
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
        {
          attempt: 'attempt-1',
          model: 'p/m',
          status: 500,
          error: 'provider answered 500: bad [redacted: key of the provider]',
        },
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
