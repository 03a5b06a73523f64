import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { selfSigned, tlsFront } from '../../test/support/tls.ts';
import { AppError } from '../errors.ts';
import { Client } from './client.ts';

/** A real server on a real socket. Returns its URL. */
async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}

async function refusal(url: string, use = (client: Client): Promise<unknown> => client.info()): Promise<AppError> {
  const thrown: unknown = await use(new Client({ url, key: 'aid_secret' })).catch((error: unknown) => error);
  if (thrown instanceof AppError) return thrown;
  throw new Error('it was not refused', { cause: thrown });
}

test('a redirect is not followed: the key goes nowhere, and the better address is named', async () => {
  const stolen: (string | undefined)[] = [];
  const thief = await serve((request, response) => {
    stolen.push(request.headers.authorization);
    response.end('{}');
  });
  const moved = await serve((request, response) =>
    response.writeHead(308, { location: `${thief}${request.url ?? ''}` }).end(),
  );
  const error = await refusal(moved);
  expect(error).toMatchObject({
    code: 'not_aideator',
    exitCode: 6,
    hint: `If that is the server, name it so: ${thief}`,
  });
  expect(stolen).toEqual([]);

  const signIn = await serve((_request, response) =>
    response.writeHead(302, { location: 'https://login.example/authorize?client_id=x&state=s3cret' }).end(),
  );
  const { message, hint } = await refusal(signIn);
  expect(message).toBe(`${signIn} answered 302: it sends elsewhere, to https://login.example/authorize.`);
  expect(hint).toContain('a page to sign in at');
});

test.each([
  [200, '<!doctype html><title>Sign in · Corp\u001b</title>', 'not_aideator', 'with a web page (“Sign in · Corp'],
  [404, '404 page not found', 'not_aideator', 'not as AIdeator does'],
  [200, 'ok', 'not_aideator', 'not as AIdeator does'],
  [400, 'The plain HTTP request was sent to HTTPS port', 'not_aideator', 'answered 400'],
  [511, '<html>', 'not_aideator', 'answered 511'],
  [503, '<html><title>No backend</title>', 'server_unreachable', 'answered 503'],
] as const)('%i %s is no AIdeator', async (status, body, code, words) => {
  const url = await serve((_request, response) => void response.writeHead(status).end(body));
  const error = await refusal(url);
  expect(error).toMatchObject({ code, exitCode: 6 });
  expect(error.message).toContain(words);
  expect(error.hint).not.toBe('');
});

test('a page in the place of a patch, or of a stream, is not taken for one', async () => {
  const url = await serve((_request, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html><title>Welcome</title>'),
  );
  expect(await refusal(url, (client) => client.patch('k3xyzabcde', 0))).toMatchObject({ code: 'not_aideator' });
  const first = (client: Client): Promise<unknown> => client.stream('k3xyzabcde').next();
  expect(await refusal(url, first)).toMatchObject({ code: 'not_aideator' });
});

test('once it streamed, a page in between is waited out: an ingress answers while the server is started anew', async () => {
  let calls = 0;
  const frame = (id: number, type: string): string => `id: ${id}\nevent: ${type}\ndata: {"status":"completed"}\n\n`;
  const url = await serve((_request, response) => {
    calls += 1;
    if (calls === 2) return void response.writeHead(404, { 'content-type': 'text/html' }).end('<html>');
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (calls === 1) response.end(`retry: 1\n\n${frame(1, 'agent_output')}`);
    else response.end(frame(2, 'run_complete'));
  });
  const ids: number[] = [];
  for await (const item of new Client({ url }).stream('k3xyzabcde')) if (item.kind === 'event') ids.push(item.event.id);
  expect([ids, calls]).toEqual([[1, 2], 3]);
});

test('a patch that is cut on the way is no patch', async () => {
  const url = await serve((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/x-diff', 'content-length': '100' });
    response.write('diff --git', () => response.destroy());
  });
  expect(await refusal(url, (client) => client.patch('k3xyzabcde', 0))).toMatchObject({ code: 'server_unreachable' });
});

test('TLS that cannot be had, each with what to do', async () => {
  const plain = await serve((_request, response) => void response.end('{}'));
  const front = await tlsFront(selfSigned(), () => plain);
  expect(await refusal(front.url)).toMatchObject({
    code: 'server_unreachable',
    message: `No answer from ${front.url}: self-signed certificate.`,
    hint: expect.stringContaining('NODE_EXTRA_CA_CERTS=<ca.pem>') as string,
  });
  const noTls = await refusal(plain.replace('http:', 'https:'));
  expect(noTls.message).toMatch(/: TLS could not be agreed on\.$/);
  expect(noTls.hint).toContain('http://');
  expect((await refusal('https://no-such-host.invalid')).hint).toContain('Nobody knows that name');
});

test('a key that is not valid: log in, in the words of the CLI', async () => {
  const url = await serve((_request, response) =>
    response
      .writeHead(401, { 'content-type': 'application/problem+json' })
      .end(JSON.stringify({ type: 't', title: 't', status: 401, detail: 'No.', code: 'unauthorized', hint: 'Bearer' })),
  );
  expect(await refusal(url)).toMatchObject({
    code: 'unauthorized',
    hint: expect.stringContaining(`aideator login ${url}`) as string,
  });
});
