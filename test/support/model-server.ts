import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { scriptedHandler } from '../../src/gateway/scripted/handler.ts';
import { parseScript, type Script } from '../../src/gateway/scripted/script.ts';

export interface SeenRequest {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  /** The whole body, once it has come. */
  body: Promise<string>;
  /** Settles when the response is over or its connection is gone: true where it was whole. */
  closed: Promise<boolean>;
  request: IncomingMessage;
  response: ServerResponse;
}

export interface TestServer {
  /** Without a trailing slash and without /v1. */
  baseUrl: string;
  /** Every request so far, in order. */
  requests: SeenRequest[];
  close(): Promise<void>;
}

/**
 * The scripted model as a server of its own on a free loopback port, closed when the test ends.
 * `script` may be YAML text. With `key`, requests without it get 401.
 */
export async function startModelServer(script: Script | string, options: { key?: string } = {}): Promise<TestServer> {
  const handle = scriptedHandler(typeof script === 'string' ? parseScript(script) : script, options);
  return startServer((request, response) => void handle(request, response));
}

/** Any node:http handler on a free loopback port, closed when the test ends. */
export async function startServer(listener: RequestListener): Promise<TestServer> {
  const requests: SeenRequest[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    const body = new Promise<string>((resolve) => {
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('close', () => resolve(Buffer.concat(chunks).toString('utf8')));
    });
    const closed = new Promise<boolean>((resolve) => response.on('close', () => resolve(response.writableFinished)));
    requests.push({
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body,
      closed,
      request,
      response,
    });
    listener(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = closeOnce(server);
  onTestFinished(close);
  const { port } = server.address() as AddressInfo;
  return { baseUrl: `http://127.0.0.1:${port}`, requests, close };
}

function closeOnce(server: Server): () => Promise<void> {
  let closing: Promise<void> | undefined;
  return () =>
    (closing ??= new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }));
}
