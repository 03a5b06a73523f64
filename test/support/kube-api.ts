import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Credentials } from '../../src/runtime/kubernetes/client/credentials.ts';
import { createLogs, type Logs } from './kube-logs.ts';
import { createObjects, type Objects } from './kube-objects.ts';
import { sendStatus, type Asked, type Fault } from './kube-wire.ts';
import type { Pki } from './pki.ts';

/**
 * Plays the API server over real TLS, as far as the client can see it: objects with a history, lists in pages, watches that resume or
 * say 410, logs as the kubelet gives them (`kubelet-facts.ts` holds it to that), and faults on demand.
 */
export interface KubeApi {
  readonly url: string;
  readonly objects: Objects;
  readonly logs: Logs;
  /** What was asked, in order. */
  readonly requests: Asked[];
  readonly handshakes: number;
  /** Connections that are open now. */
  readonly sockets: number;
  /** Tokens that are good; null = nobody is asked. */
  tokens: Set<string> | null;
  /** Has the first say on every request: true = it has answered, or will not. */
  intercept: (asked: Asked, response: ServerResponse) => boolean;
  /** What happens to a stream after some of its lines. */
  fault: (asked: Asked) => Fault | null;
  /** Down: connections are cut, new ones refused, until it is up again at the same port. */
  down(): Promise<void>;
  up(): Promise<void>;
}

export async function startKubeApi(pki: Pki): Promise<KubeApi> {
  const open = new Set<Socket>();
  let handshakes = 0;
  let port = 0;
  let server: Server | null = null;

  const api: KubeApi = {
    get url() {
      return `https://127.0.0.1:${port}`;
    },
    objects: createObjects(),
    logs: createLogs(),
    requests: [],
    get handshakes() {
      return handshakes;
    },
    get sockets() {
      return open.size;
    },
    tokens: null,
    intercept: () => false,
    fault: () => null,
    down: async () => {
      const closing = server;
      server = null;
      if (closing === null) return;
      const closed = once(closing, 'close');
      closing.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
    up: async () => {
      server = createServer({ ...pki.server, ca: pki.ca, requestCert: true, rejectUnauthorized: false }, (req, res) => {
        // A connection that a test cuts is no failure of the test's own server.
        res.setMaxListeners(0);
        res.on('error', () => undefined);
        answer(req, res).catch((error: unknown) => res.destroy(error as Error));
      });
      server.on('connection', (socket: Socket) => {
        open.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => open.delete(socket));
      });
      server.on('secureConnection', () => (handshakes += 1));
      server.on('tlsClientError', () => undefined);
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
      port = (server.address() as AddressInfo).port;
    },
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? '/', 'https://x');
    const asked: Asked = {
      method: request.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      authorization: request.headers.authorization,
      body: Buffer.concat(chunks).toString('utf8'),
    };
    api.requests.push(asked);
    if (api.intercept(asked, response)) return;
    if (api.tokens !== null && !api.tokens.has((asked.authorization ?? '').replace('Bearer ', ''))) {
      sendStatus(response, 401, 'Unauthorized', 'Unauthorized');
      return;
    }
    const log = /\/pods\/([^/]+)\/log$/.exec(asked.path);
    const fault = api.fault(asked);
    if (log !== null) await api.logs.answer(log[1] ?? '', asked, response, fault);
    else await api.objects.answer(asked, response, fault);
  }

  await api.up();
  onTestFinished(() => api.down());
  return api;
}

/** Credentials without files. */
export function fixedCredentials(api: KubeApi, pki: Pki, token: string | null = null): Credentials {
  const access = {
    tls: { ca: pki.ca, rejectUnauthorized: true },
    authorization: token === null ? null : `Bearer ${token}`,
  };
  return {
    source: 'the test',
    server: new URL(api.url),
    namespace: 'test',
    access: async () => access,
    renew: async () => false,
  };
}
