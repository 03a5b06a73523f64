import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { until } from '../../test/support/until.ts';
import { startProxy, type ModelProxy, type ProxyOptions } from './proxy.ts';

async function listen(listener: RequestListener, where: string | number): Promise<Server> {
  const server = createServer(listener);
  server.listen(where);
  await once(server, 'listening');
  onTestFinished(() => close(server));
  return server;
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

async function proxyTo(socket: string, more: Partial<ProxyOptions> = {}): Promise<ModelProxy> {
  const proxy = await startProxy({ door: { socket, token: 'secret' }, retryMs: 10, ...more });
  onTestFinished(() => proxy.close());
  return proxy;
}

const echo: RequestListener = (incoming, response) => {
  const chunks: Buffer[] = [];
  incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
  incoming.on('end', () => {
    response.writeHead(201, { 'content-type': 'application/json', 'x-from': 'door' });
    response.end(
      JSON.stringify({
        method: incoming.method,
        url: incoming.url,
        headers: incoming.headers,
        body: Buffer.concat(chunks).toString(),
      }),
    );
  });
};

test('a request goes on with the token of the attempt and without what the agent holds for a key', async () => {
  const socket = join(tempDir(), 's');
  await listen(echo, socket);
  const { baseUrl } = await proxyTo(socket);
  const answer = await fetch(`${baseUrl}/v1/messages?beta=true`, {
    method: 'POST',
    body: '{"a":"é"}',
    headers: {
      'x-api-key': 'dummy',
      authorization: 'Bearer dummy',
      cookie: 'a=b',
      'anthropic-version': '2023-06-01',
      'content-type': 'application/json',
    },
  });
  expect([answer.status, answer.headers.get('x-from')]).toEqual([201, 'door']);
  const seen = (await answer.json()) as { url: string; body: string; headers: Record<string, string> };
  expect(seen).toMatchObject({ method: 'POST', url: '/models/v1/messages?beta=true', body: '{"a":"é"}' });
  expect(seen.headers).toMatchObject({
    authorization: 'Bearer secret',
    'anthropic-version': '2023-06-01',
    'content-length': '10',
  });
  expect(Object.keys(seen.headers)).not.toEqual(expect.arrayContaining(['x-api-key']));
  expect(JSON.stringify(seen)).not.toContain('dummy');
});

test('a door may be a URL', async () => {
  const server = await listen(echo, 0);
  const { port } = server.address() as AddressInfo;
  const proxy = await startProxy({ door: { url: `http://127.0.0.1:${port}/attempts/`, token: 't' } });
  onTestFinished(() => proxy.close());
  const answer = await fetch(`${proxy.baseUrl}/v1/models`);
  expect(await answer.json()).toMatchObject({ method: 'GET', url: '/attempts/models/v1/models' });
});

test('nothing but models is behind it, for nobody but the agent', async () => {
  const { baseUrl } = await proxyTo('/nowhere');
  expect((await fetch(`${baseUrl}/results`)).status).toBe(404);
  expect((await fetch(`${baseUrl}/v1x`)).status).toBe(404);
  expect(
    (await fetch(`${baseUrl}/v1/messages`, { method: 'POST', headers: { origin: 'https://evil.example' } })).status,
  ).toBe(403);
  const { port } = new URL(baseUrl);
  const rebound = request({ port, host: '127.0.0.1', path: '/v1/messages', headers: { host: `evil.example:${port}` } });
  rebound.end();
  const [answer] = (await once(rebound, 'response')) as [IncomingMessage];
  answer.resume();
  expect(answer.statusCode).toBe(403);
});

test.each([
  '/v1/../../attempt/lines',
  '/v1/..%2f..%2fattempt/lines',
  '/v1/%2e%2e/%2E%2E/attempt/claim',
  '/v1/.%2e/../repository/info/refs',
  '/v1beta/..\\..\\attempt\\link',
  '/v1/./messages',
])('the rest of the attempt door is not for the agent: %s', async (path) => {
  const asked: string[] = [];
  const door = await listen((incoming, response) => {
    asked.push(incoming.url ?? '');
    response.end();
  }, 0);
  const { port } = door.address() as AddressInfo;
  const proxy = await startProxy({ door: { url: `http://127.0.0.1:${port}/base`, token: 'secret' }, retryMs: 10 });
  onTestFinished(() => proxy.close());
  // As bytes: a URL would be resolved before it is sent.
  const { hostname, port: own, host } = new URL(proxy.baseUrl);
  const status = await new Promise((resolve, reject) => {
    request({ host: hostname, port: own, path, method: 'POST', headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .once('error', reject)
      .end();
  });
  expect(status).toBe(404);
  expect(asked).toEqual([]);
});

test('answers stream: each piece arrives as it is sent, and a cut is a cut', async () => {
  const socket = join(tempDir(), 's');
  let next: (() => void) | undefined;
  await listen((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 1\n\n');
    next = () => {
      response.write('data: 2\n\n');
      next = () => response.destroy();
    };
  }, socket);
  const { baseUrl } = await proxyTo(socket);
  const answer = await fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: '{}' });
  const reader = answer.body!.getReader();
  const text = async () => Buffer.from((await reader.read()).value ?? []).toString();
  expect(await text()).toBe('data: 1\n\n');
  next?.();
  expect(await text()).toBe('data: 2\n\n');
  next?.();
  await expect(reader.read()).rejects.toThrow('terminated');
});

test('an agent that leaves takes its call with it', async () => {
  const socket = join(tempDir(), 's');
  let gone = false;
  await listen((_, response) => {
    response.write('data: 1\n\n');
    response.once('close', () => {
      gone = true;
    });
  }, socket);
  const { baseUrl } = await proxyTo(socket);
  const left = new AbortController();
  const answer = await fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: '{}', signal: left.signal });
  left.abort();
  await expect(answer.text()).rejects.toThrow('aborted');
  await until(() => gone);
});

test('a slow agent holds up the door, not the memory', async () => {
  const socket = join(tempDir(), 's');
  let sent = 0;
  let stopped = false;
  await listen((_, response) => {
    const piece = Buffer.alloc(64 * 1024, 1);
    const push = (): void => {
      while (sent < 512 * 1024 * 1024) {
        sent += piece.length;
        if (!response.write(piece)) {
          response.once('drain', push);
          return;
        }
      }
    };
    response.once('close', () => {
      stopped = true;
    });
    push();
  }, socket);
  const { baseUrl } = await proxyTo(socket);
  const { port } = new URL(baseUrl);
  const call = request({ port, host: '127.0.0.1', path: '/v1/messages' });
  call.end();
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  answer.pause();
  let before = -1;
  while (before !== sent) {
    before = sent;
    await wait(200);
  }
  expect(sent).toBeLessThan(64 * 1024 * 1024);
  answer.destroy();
  await until(() => stopped);
});

test('a door that is away for a while is waited for, also where it breaks off before it answers', async () => {
  const socket = join(tempDir(), 's');
  const { baseUrl } = await proxyTo(socket);
  const answer = fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: 'once' });
  await wait(50);
  let broken = 0;
  const first = await listen((incoming) => {
    broken += 1;
    incoming.socket.destroy();
  }, socket);
  await until(() => broken > 1);
  await close(first);
  await listen(echo, socket);
  expect(await (await answer).json()).toMatchObject({ body: 'once' });
});

test('a door that stays away is told as such', async () => {
  const { baseUrl } = await proxyTo('/nowhere/at/all', { patienceMs: 60 });
  const answer = await fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: '{}' });
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ error: { type: 'server_unreachable' } });
});

test('a request that is too long is refused', async () => {
  const { baseUrl } = await proxyTo('/nowhere', { maxBodyBytes: 1000 });
  const answer = await fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: 'x'.repeat(1001) });
  expect(answer.status).toBe(413);
});

test('requests that it has no room for wait until others are over', async () => {
  const socket = join(tempDir(), 's');
  const held: (() => void)[] = [];
  await listen((incoming, response) => {
    incoming.resume();
    held.push(() => void response.end('done'));
  }, socket);
  const { baseUrl } = await proxyTo(socket, { maxHeldBytes: 1024 * 1024 });
  const ask = async () => (await fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: 'x'.repeat(700_000) })).text();
  const answers = [ask(), ask()];
  await until(() => held.length === 1);
  await wait(50);
  expect(held).toHaveLength(1);
  held[0]?.();
  await until(() => held.length === 2);
  held[1]?.();
  expect(await Promise.all(answers)).toEqual(['done', 'done']);
});

test('a body that does not come is given up, and makes room', async () => {
  const socket = join(tempDir(), 's');
  await listen(echo, socket);
  const { baseUrl } = await proxyTo(socket, { maxHeldBytes: 1, bodyIdleMs: 100 });
  const dripping = request(`${baseUrl}/v1/messages`, { method: 'POST', headers: { 'content-length': '100' } });
  const broken = once(dripping, 'error');
  dripping.write('a');
  expect((await fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: '{}' })).status).toBe(201);
  expect(String((await broken)[0])).toContain('hang up');
});

test('an agent that leaves while the door is away is forgotten', async () => {
  const { baseUrl, close: closeProxy } = await proxyTo('/nowhere');
  const left = AbortSignal.timeout(50);
  await expect(fetch(`${baseUrl}/v1/messages`, { method: 'POST', body: '{}', signal: left })).rejects.toThrow(
    'timeout',
  );
  await closeProxy();
});
