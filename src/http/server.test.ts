import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { testDoor } from '../../test/support/public-door.ts';
import { MAX_BODY_BYTES } from '../contract/api.ts';
import { AppError } from '../errors.ts';
import { listen } from './server.ts';

/** What a raw request is answered with, until the connection ends. */
async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.on('data', (piece: Buffer) => (answer += piece.toString('latin1')));
  socket.on('error', () => undefined);
  socket.write(text);
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

async function failure(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`not an AppError: ${String(error)}`);
  return error;
}

describe('listening', () => {
  it('serves on the address it says', async () => {
    const { serve } = await testDoor();
    const { url, port } = await serve();
    expect(url).toBe(`http://127.0.0.1:${port}`);
    const response = await fetch(`${url}/healthz`);
    expect([response.status, await response.json()]).toEqual([200, { status: 'ok', version: '0.0.0-test' }]);
  });

  it('says which port is taken, and how to choose another', async () => {
    const first = await testDoor();
    const { port } = await first.serve();
    const error = await failure(listen(first.door, { host: '127.0.0.1', port, keys: first.keys }));
    expect(error.code).toBe('port_in_use');
    expect(error.message).toContain(String(port));
    expect(error.hint).toMatch(/--port.*AIDEATOR_PORT/);
  });

  it('says which address it cannot have', async () => {
    const { door, keys } = await testDoor({ host: '192.0.2.1' });
    await keys.create({ name: 'n', scope: 'admin' });
    const error = await failure(listen(door, { host: '192.0.2.1', port: 0, keys }));
    expect([error.code, error.message]).toEqual(['invalid_config', expect.stringContaining('192.0.2.1') as string]);
  });

  it('refuses to be reached by others before there is a key', async () => {
    const { door, keys } = await testDoor({ host: '0.0.0.0' });
    const error = await failure(listen(door, { host: '0.0.0.0', port: 0, keys }));
    expect([error.code, error.hint]).toEqual([
      'exposed_without_key',
      expect.stringContaining('aideator keys create') as string,
    ]);
    const { key } = await keys.create({ name: 'n', scope: 'read' });
    const { url, close } = await listen(door, { host: '0.0.0.0', port: 0, keys });
    expect((await fetch(`${url}/api/v1/info`)).status).toBe(401);
    expect((await fetch(`${url}/api/v1/info`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(200);
    await close();
  });

  it('brackets an IPv6 address', async () => {
    const { door, keys } = await testDoor({ host: '::1' });
    const { url, close } = await listen(door, { host: '::1', port: 0, keys });
    expect(url).toMatch(/^http:\/\/\[::1\]:\d+$/);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    await close();
  });
});

describe('on the wire', () => {
  it('takes HTTP/1.0 without a Host', async () => {
    const { serve } = await testDoor();
    const { port } = await serve();
    expect(await raw(port, 'GET /healthz HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 OK[^]*"status":"ok"/);
  });

  it('answers requests that make no sense with a problem', async () => {
    const { serve } = await testDoor();
    const { port } = await serve();
    for (const head of [
      'GET /healthz HTTP/1.1\r\nhost: a b',
      'GET /a\\b HTTP/1.1\r\nhost: localhost:99999',
      'GET http://a:b:c/ HTTP/1.1\r\nhost: localhost',
    ]) {
      const answer = await raw(port, `${head}\r\nconnection: close\r\n\r\n`);
      expect([head, answer]).toEqual([
        head,
        expect.stringMatching(
          /^HTTP\/1\.1 400 [^]*content-type: application\/problem\+json[^]*"invalid_request"/,
        ) as string,
      ]);
    }
  });

  it('answers a body that is too large before it is all there', async () => {
    const { serve } = await testDoor();
    const { port } = await serve();
    const head = `POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`;
    expect(await raw(port, `${head}content-length: ${MAX_BODY_BYTES + 1}\r\n\r\n{`)).toMatch(
      /^HTTP\/1\.1 413 [^]*"payload_too_large"/,
    );
    const outgoing = request({
      port,
      host: '127.0.0.1',
      method: 'POST',
      path: '/api/v1/runs',
      headers: { 'content-type': 'application/json' },
    });
    outgoing.on('error', () => undefined);
    const answered = new Promise<IncomingMessage>((resolve) => outgoing.once('response', resolve));
    const piece = Buffer.alloc(65_536, 32);
    for (let sent = 0; sent <= MAX_BODY_BYTES; sent += piece.length) outgoing.write(piece);
    const answer = await answered;
    expect([answer.statusCode, answer.headers.connection]).toEqual([413, 'close']);
    outgoing.destroy();
  });

  it('tells nothing of a body that never came to its end', async () => {
    const { serve, flow, logged } = await testDoor();
    const { port } = await serve();
    const socket = connect(port, '127.0.0.1');
    socket.write(
      'POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"repository":',
    );
    await new Promise((resolve) => setTimeout(resolve, 30));
    socket.destroy();
    await expect.poll(() => logged.some((line) => line.includes('"status":400'))).toBe(true);
    expect(flow.calls).toEqual([]);
    expect(logged.join('')).not.toContain('a request failed');
  });

  it('takes a body that comes in chunks', async () => {
    const { serve, flow } = await testDoor();
    const { url } = await serve();
    const body = new ReadableStream({
      start: (controller) => {
        for (const piece of ['{"repository":"/r",', '"prompt":"\u{1f600}"}']) controller.enqueue(Buffer.from(piece));
        controller.close();
      },
    });
    const response = await fetch(`${url}/api/v1/runs`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      duplex: 'half',
    });
    expect(response.status).toBe(202);
    expect(flow.calls).toEqual(['submit \u{1f600} 3']);
  });
});

describe('closing', () => {
  it('lets what is under way finish, takes nothing new, and can be asked twice', async () => {
    const { serve, flow } = await testDoor();
    const { url, close } = await serve();
    const gate = Promise.withResolvers<void>();
    flow.gate = gate.promise;
    const pending = fetch(`${url}/api/v1/info`);
    await expect.poll(() => flow.calls.length).toBe(1);
    const closed = Promise.all([close(), close()]);
    await expect
      .poll(() =>
        fetch(`${url}/healthz`).then(
          () => 'answered',
          () => 'refused',
        ),
      )
      .toBe('refused');
    gate.resolve();
    expect((await pending).status).toBe(200);
    await closed;
  });

  it('does not wait for ever', async () => {
    const { serve, flow } = await testDoor({ closeTimeoutMs: 50 });
    const { url, close } = await serve();
    flow.gate = new Promise(() => undefined);
    const pending = fetch(`${url}/api/v1/info`).then(
      () => 'answered',
      () => 'cut',
    );
    await expect.poll(() => flow.calls.length).toBe(1);
    await close();
    expect(await pending).toBe('cut');
  });
});
