import { request } from 'node:http';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { startProxy } from '../../src/agent/proxy.ts';
import { openDoor } from '../../src/attempt-api/door.ts';
import type { EgressDeps } from '../../src/attempt-api/egress.ts';
import type { Knocker } from '../../src/attempt-api/models.ts';
import { parseAllowedHost } from '../../src/contract/allowed-host.ts';
import type { EgressFact } from '../../src/flow/egress.ts';
import { createTokenBook, hashToken, newToken } from '../../src/flow/tokens.ts';
import type { Gateway } from '../../src/gateway/gateway.ts';
import { tempDir } from './temp.ts';

const gateway: Gateway = {
  check: () => ['anthropic'],
  hasPrice: () => true,
  close: () => Promise.resolve(),
  handle: (_request, response, caller) => {
    response.end(`model of ${caller.attemptId}`);
    return Promise.resolve();
  },
};

type More = Partial<Pick<EgressDeps<Knocker>, 'resolve' | 'kindOf' | 'maxTunnels' | 'idleMs' | 'connectMs'>>;

/** A real attempt door that connects to these hosts, on a Unix socket or a port, and one attempt with its recorder's proxy. */
export async function egressScene(hosts: string[], options: More & { onPort?: boolean } = {}) {
  const { onPort = false, ...more } = options;
  const tokens = createTokenBook<Knocker>();
  const facts: EgressFact[] = [];
  const socket = join(tempDir(), 'door');
  const allowed = hosts.map((host) => parseAllowedHost(host)).filter((entry) => typeof entry !== 'string');
  const open = () =>
    openDoor<Knocker>({
      listen: onPort ? { host: '127.0.0.1', port: 0 } : { socket },
      tokens,
      gateway,
      book: () => ({ reserve: () => Promise.resolve(), note: () => undefined, settle: () => undefined }),
      egress: { allowed, tell: (_caller, fact) => void facts.push(fact), ...more },
    });
  const scene = { door: await open(), open };
  onTestFinished(() => scene.door.close());
  const where = onPort ? { url: `http://127.0.0.1:${scene.door.port}` } : { socket };

  /** Another attempt: its token's book, and its proxy. */
  async function attempt(tunnels?: { maxTunnels?: number; idleMs?: number }) {
    const token = newToken();
    const stopped = new AbortController();
    tokens.admit(hashToken(token), { attemptId: 'one', model: 'p/m', stopped });
    const proxy = await startProxy({ door: { ...where, token }, retryMs: 20, ...(tunnels ? { tunnels } : {}) });
    onTestFinished(() => proxy.close());
    return {
      proxy,
      token,
      stop: () => stopped.abort(),
      revoke: () => tokens.revoke(hashToken(token)),
      connect: (authority: string) => connectBy(proxy.baseUrl, authority),
    };
  }
  return { ...scene, where, facts, attempt, ...(await attempt()) };
}

export interface Connected {
  status: number;
  socket: Socket;
  /** What came with a refusal. */
  body: string;
}

/** `CONNECT authority` at a proxy, as an agent's program asks it; its answer. */
export function connectBy(proxyUrl: string, authority: string): Promise<Connected> {
  const { hostname, port } = new URL(proxyUrl);
  return new Promise((resolve, reject) => {
    const asked = request({
      ...{ host: hostname, port, method: 'CONNECT', path: authority, agent: false },
      // As a tunnel needs it; ClientRequest hands it on to its socket.
      ...{ allowHalfOpen: true },
    });
    asked.once('error', reject);
    asked.once('connect', (response, socket, head) => {
      socket.on('error', () => undefined);
      onTestFinished(() => void socket.destroy());
      const status = response.statusCode ?? 0;
      if (status === 200) {
        if (head.length > 0) socket.unshift(head);
        resolve({ status, socket, body: '' });
        return;
      }
      let body = head.toString();
      socket.on('data', (chunk: Buffer) => (body += chunk.toString()));
      socket.once('end', () => {
        socket.end();
        resolve({ status, socket, body });
      });
    });
    asked.end();
  });
}

/** A TCP server of the test's own. */
export async function listenTcp(onConnection: (socket: Socket) => void, host = '127.0.0.1') {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  const { port } = server.address() as AddressInfo;
  return { port, at: `${host}:${port}`, sockets };
}
