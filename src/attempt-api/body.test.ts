import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished } from 'vitest';
import { toAppError } from '../errors.ts';
import { bodyStream, guardBody } from './body.ts';

/** Bodies that are not what they seem. */

async function readingServer(limit: number, idleMs?: number) {
  const heard: (number | string)[] = [];
  const server = createServer((incoming, response) => {
    if (idleMs !== undefined) guardBody(incoming, idleMs);
    const read = async () => {
      let size = 0;
      for await (const chunk of bodyStream(incoming, limit)) size += (chunk as Buffer).length;
      return size;
    };
    read().then(
      (size) => {
        heard.push(size);
        response.end();
      },
      (error: unknown) => {
        heard.push(toAppError(error).code);
        response.writeHead(toAppError(error).status).end();
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { heard, port, url: `http://127.0.0.1:${port}` };
}

it('what is small in gzip and large without it is cut at the limit', async () => {
  const { heard, url } = await readingServer(1_000_000);
  const ask = (body: Buffer) =>
    fetch(url, { method: 'POST', body: new Uint8Array(body), headers: { 'content-encoding': 'gzip' } });
  expect((await ask(gzipSync(Buffer.alloc(500_000)))).status).toBe(200);
  expect((await ask(gzipSync(Buffer.alloc(100_000_000)))).status).toBe(413);
  expect((await ask(gzipSync(Buffer.alloc(500_000)).subarray(0, 300))).status).toBe(400);
  expect(heard).toEqual([500_000, 'payload_too_large', 'invalid_request']);
});

it('one that stops coming is given up; one that comes slowly is not', async () => {
  const { heard, port } = await readingServer(1000, 1000);
  const send = () => {
    const sent = request({ port, method: 'POST', headers: { 'content-length': 10 } });
    const over = new Promise<string>((resolve) => {
      sent.on('error', () => resolve('cut'));
      sent.on('response', (response) => resolve(String(response.resume().statusCode)));
    });
    return { sent, over };
  };
  const stopped = send();
  stopped.sent.write('abc');
  expect(await stopped.over).toBe('cut');
  const slow = send();
  for (let n = 0; n < 10; n += 1) {
    slow.sent.write('x');
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  slow.sent.end();
  expect(await slow.over).toBe('200');
  expect(heard).toEqual(['invalid_request', 10]);
});
