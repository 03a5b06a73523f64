import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { before, keyed, mountGateway, post, providerAt } from '../../test/support/gateway.ts';
import { startServer } from '../../test/support/model-server.ts';

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
