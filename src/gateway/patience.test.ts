import { describe, expect, test } from 'vitest';
import {
  before,
  dialects,
  errorIn,
  KEY,
  keyed,
  mountGateway,
  post,
  send,
  type Got,
  type MountedGateway,
} from '../../test/support/gateway.ts';
import { startModelServer, type SeenRequest } from '../../test/support/model-server.ts';
import { parseScript } from './scripted/script.ts';

/** What a provider says of waiting, and of keys, is heeded by all variations. */

const twice = (more: string): string =>
  `models:\n  m:\n    turns: [{ first_of: [{ error: { status: 429, times: 2, ${more} } }, { text: well }] }]\n`;

const postAs = (gateway: MountedGateway, who: string): Promise<Got> =>
  post(gateway.baseUrl, 'anthropic', { stream: true }, { 'x-test-attempt': who });

describe('a provider that asks to wait', () => {
  test.each(dialects)('is asked again when it said, and the agent hears nothing of it: %s', async (dialect) => {
    const upstream = await startModelServer(twice('retry_after: 0'), { key: KEY });
    const waiting: string[] = [];
    const gateway = await mountGateway('p/m', {
      providers: { p: keyed(dialect, upstream) },
      onWaiting: (name, change) => void waiting.push(`${name} ${change}`),
    });
    expect(await post(gateway.baseUrl, dialect, { stream: true })).toMatchObject({ status: 200, cut: false });
    expect(upstream.requests).toHaveLength(3);
    // One call, however often it was tried.
    expect(await gateway.recorded(1)).toMatchObject([{ status: 200, error: null }]);
    expect(gateway.claims).toHaveLength(1);
    expect(waiting).toEqual([]);
  });

  test('holds up the calls of all variations, which are told', async () => {
    const at: number[] = [];
    const { gateway } = await before('anthropic', (_, response) => {
      at.push(performance.now());
      if (at.length === 1) response.writeHead(429, { 'retry-after': '0.3', 'content-type': 'application/json' });
      else response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"error":{"message":"slow down"}}');
    });
    const first = postAs(gateway, 'a');
    await expect.poll(() => at.length).toBe(1);
    await expect.poll(() => gateway.notes.length).toBe(1);
    const others = [postAs(gateway, 'b'), postAs(gateway, 'c')];
    expect((await Promise.all([first, ...others])).map((got) => got.status)).toEqual([200, 200, 200]);
    expect(at).toHaveLength(4);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(295);
    const calls = await gateway.recorded(3);
    expect(calls.every((call) => call.waitedMs > 100)).toBe(true);
    expect(gateway.notes).toMatchObject(
      Array.from({ length: 3 }, () => ({ code: 'provider_waiting', provider: 'p', seconds: 1 })),
    );
  });

  test('for longer than can be waited is heard by the agent, and by the next one at once', async () => {
    const { gateway, upstream } = await before(
      'openai',
      (_, response) => void response.writeHead(503, { 'retry-after': '3600' }).end('<html>maintenance</html>'),
    );
    const got = await post(gateway.baseUrl, 'openai');
    expect([got.status, got.headers.get('retry-after')]).toEqual([503, '3600']);
    const next = await post(gateway.baseUrl, 'openai');
    expect([next.status, next.headers.get('retry-after')]).toEqual([503, '3600']);
    expect(errorIn(next.text).message).toContain('asked to wait');
    expect(upstream.requests).toHaveLength(1);
    expect((await gateway.recorded(2)).map((call) => call.costMicrodollars)).toEqual([0, 0]);
  });

  test('is not asked for an agent that left meanwhile', async () => {
    const { gateway, upstream } = await before('gemini', (_, response) => {
      response.writeHead(429, { 'content-type': 'application/json' });
      response.end('{"error":{"code":429,"message":"slow","details":[{"retryDelay":"7s"}]}}');
    });
    const leaving = new AbortController();
    const asked = send(gateway.baseUrl, 'gemini', {}, { signal: leaving.signal });
    await expect.poll(() => gateway.notes.length).toBe(1);
    expect(gateway.notes[0]).toMatchObject({ seconds: 7 });
    leaving.abort();
    await expect(asked).rejects.toThrow('aborted');
    // Nothing was spent on what was refused.
    expect(await gateway.recorded(1)).toMatchObject([{ status: 499, costMicrodollars: 0, tokens: { input: 0 } }]);
    expect(upstream.requests).toHaveLength(1);
  });
});

describe('a key that was refused', () => {
  const shownKey = ({ headers }: SeenRequest): unknown => headers['x-api-key'];

  test('is not shown again for a while, by whichever variation; another one is tried at once', async () => {
    const upstream = await startModelServer('models:\n  m:\n    turns: [{ text: well }]\n', { key: 'the-new-key' });
    let key = KEY;
    const provider = {
      ...keyed('anthropic', upstream),
      get key() {
        return key;
      },
    };
    const gateway = await mountGateway('p/m', { providers: { p: provider } });
    const got = [await postAs(gateway, 'a'), await postAs(gateway, 'a'), await postAs(gateway, 'b')];
    expect(got.map(({ status, text }) => [status, errorIn(text).code])).toEqual(
      Array.from({ length: 3 }, () => [401, 'provider_key_refused']),
    );
    expect(new Set(got.map(({ text }) => text)).size).toBe(1);
    expect(upstream.requests.map(shownKey)).toEqual([KEY]);
    key = 'the-new-key';
    expect((await postAs(gateway, 'a')).status).toBe(200);
    expect(await gateway.recorded(4)).toMatchObject([
      { status: 401, costMicrodollars: 0, code: 'provider_key_refused' },
      { status: 401, costMicrodollars: 0 },
      { status: 401, costMicrodollars: 0 },
      { status: 200 },
    ]);
  });

  test('for one model only says nothing of the key', async () => {
    const { gateway, upstream } = await before(
      'openai',
      (_, response) =>
        void response.writeHead(403, { 'content-type': 'application/json' }).end('{"error":{"message":"no access"}}'),
    );
    for (let time = 0; time < 2; time++) expect((await post(gateway.baseUrl, 'openai')).status).toBe(403);
    expect(upstream.requests).toHaveLength(2);
  });
});

describe('the models of an attempt', () => {
  const script = parseScript(
    'models:\n  large:\n    turns: [{ text: from large }]\n  small:\n    turns: [{ text: from small }]\n',
  );
  const helpers = { 'title-*': 'same', 'title-small-*': 's/small', exact: 's/small', gone: 'nowhere/m' };
  const mount = (): Promise<MountedGateway> =>
    mountGateway(
      's/large',
      {
        providers: { s: { kind: 'scripted', baseUrl: '', key: null, keyFrom: null, keyNeeded: false } },
        scripts: { s: script },
      },
      { helpers },
    );

  test.each(dialects)('are its own, and those its agent is known to ask for: %s', async (dialect) => {
    const gateway = await mount();
    const ask = async (model: string): Promise<string> => {
      const got = await post(gateway.baseUrl, dialect, { model });
      return /from \w+/.exec(got.text)?.[0] ?? `${got.status} ${String(errorIn(got.text).code)}`;
    };
    expect(await ask('large')).toBe('from large');
    expect(await ask('s/large')).toBe('from large');
    expect(await ask('title-1')).toBe('from large');
    expect(await ask('title-small-1')).toBe('from small');
    expect(await ask('exact')).toBe('from small');
    expect(await ask('small')).toBe('403 model_not_allowed');
    expect(await ask('s/small')).toBe('403 model_not_allowed');
    expect(await ask('constructor')).toBe('403 model_not_allowed');
    expect(await ask('gone')).toBe('422 unknown_model');
    const calls = await gateway.recorded(9);
    expect(calls.map((call) => [call.model, call.code])).toEqual([
      ...['large', 'large', 'large', 'small', 'small'].map((name) => [`s/${name}`, null]),
      ...Array.from({ length: 3 }, () => ['s/large', 'model_not_allowed']),
      ['s/large', 'unknown_model'],
    ]);
    // Nothing is set aside for what is refused.
    expect(gateway.claims).toHaveLength(5);
  });

  test('are named in full, and a name of any length is cut', async () => {
    const gateway = await mount();
    const got = await post(gateway.baseUrl, 'openai', { model: 'x'.repeat(100_000) });
    expect(errorIn(got.text).message.length).toBeLessThan(300);
  });
});

test('headers that are configured go to the provider, and a secret in one stays there', async () => {
  const secret = 'a-secret-of-many-letters';
  const { upstream, gateway: plain } = await before('openai', (request, response) => {
    const said = JSON.stringify({ error: { message: `who is ${request.headers['x-org']?.toString()}?` } });
    response.writeHead(400, { 'content-type': 'application/json' }).end(said);
  });
  await plain.gateway.close();
  const gateway = await mountGateway('p/m', {
    providers: { p: { ...keyed('openai', upstream), headers: { 'x-org': secret, 'x-tag': 'is' } } },
  });
  const got = await post(gateway.baseUrl, 'openai');
  expect(upstream.requests[0]?.headers).toMatchObject({ 'x-org': secret, 'x-tag': 'is' });
  expect(errorIn(got.text).message).toBe('who is [redacted: key of the provider]?');
  expect(JSON.stringify(await gateway.recorded(1))).not.toContain(secret);
});
