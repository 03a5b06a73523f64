import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  type ServerResponse,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { AttemptSpec } from '../contract/attempt.ts';
import { INSIDE_PORT, listenInFolder } from './sandbox/model-socket.ts';
import { createRoom, expectedBytes } from './room.ts';
import { createTunnels, type TunnelOptions } from './tunnels.ts';

/**
 * The only model endpoint an agent is given: a loopback server without any key, whose requests go on to the attempt door with
 * the attempt's token. It outlives a restart of the server behind the door: requests wait until the door answers again.
 */
export interface ModelProxy {
  /** Without /v1 and a trailing slash. */
  baseUrl: string;
  close(): Promise<void>;
}

export interface ProxyOptions {
  door: AttemptSpec['door'];
  /** A Unix socket in this folder, for a sandbox that leads a port of its own there; left out = a free loopback port. */
  listen?: { folder: string } | undefined;
  /** How long a door that does not answer is tried again (ms). */
  patienceMs?: number;
  retryMs?: number;
  maxBodyBytes?: number;
  /** Of all requests that are under way; what comes beyond them waits. */
  maxHeldBytes?: number;
  /** A body of which nothing came for so long is given up (ms). */
  bodyIdleMs?: number;
  /** Bounds of what goes through it to other hosts. */
  tunnels?: Pick<TunnelOptions, 'maxTunnels' | 'idleMs'>;
}

/** A little more than the gateway takes, so that it is the gateway that refuses what is too long, in the agent's own dialect. */
const MAX_BODY_BYTES = 40 * 1024 * 1024;

/** Of one connection only, or the agent's own credentials: none of them goes on. */
const DROPPED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'content-length',
  'expect',
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'cookie',
]);

/** Starts the proxy, on a free loopback port or in a sandbox's folder. */
export async function startProxy(options: ProxyOptions): Promise<ModelProxy> {
  const { door, patienceMs = 120_000, retryMs = 250, maxBodyBytes = MAX_BODY_BYTES } = options;
  const { maxHeldBytes = MAX_BODY_BYTES, bodyIdleMs = 60_000 } = options;
  const room = createRoom(maxHeldBytes);
  const closing = new AbortController();
  const connections = new Agent({ keepAlive: true });
  let host = '';

  async function handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    let url = incoming.url ?? '/';
    // A client that takes this for its proxy says the whole URL (RFC 9112, 3.2.2), also of a model that is here.
    if (url.startsWith(`http://${host}/`)) url = url.slice(`http://${host}`.length);
    if (/^[a-z][a-z0-9+.-]*:/i.test(url)) {
      const why =
        'Plain http is not let through: only CONNECT to the hosts of sandbox.allow_hosts is, as https uses it.';
      refuse(response, 403, 'plain_http_refused', why);
      return;
    }
    // A web page that knows the port must not spend the user's money: a browser names itself, and cannot choose the Host.
    if (incoming.headers.host !== host || incoming.headers.origin !== undefined) {
      refuse(response, 403, 'forbidden', 'Only the agent of this attempt is served here.');
      return;
    }
    // Behind the same door are journal and result of the attempt: no path of the agent's may lead there, however it is written.
    if (!/^\/v1(?:beta)?(?:[/?]|$)/.test(url) || climbs(url)) {
      refuse(response, 404, 'not_found', `There is no ${url.split('?')[0]} here; models are under /v1 and /v1beta.`);
      return;
    }
    const left = new AbortController();
    response.once('close', () => left.abort());
    const signal = AbortSignal.any([left.signal, closing.signal]);
    const leaveRoom = await room.enter(expectedBytes(incoming.headers['content-length'], maxBodyBytes), signal);
    response.once('close', leaveRoom);
    if (response.closed) leaveRoom();
    const body = await readBody(incoming, maxBodyBytes, bodyIdleMs);
    if (body === null) {
      refuse(response, 413, 'payload_too_large', `A request may have ${maxBodyBytes} bytes.`);
      return;
    }
    const answer = await ask(incoming, url, body, signal);
    if (answer === null) {
      refuse(
        response,
        503,
        'server_unreachable',
        `The server has not answered for ${Math.round(patienceMs / 1000)} s.`,
      );
      return;
    }
    response.writeHead(answer.statusCode ?? 502, passedOn(answer.headers, false));
    // A stream's head is news already: an agent sees that its call was taken.
    response.flushHeaders();
    await pipeline(answer, response);
  }

  /** The door's answer once it begins; null where the door stayed shut. */
  async function ask(
    incoming: IncomingMessage,
    url: string,
    body: Buffer,
    signal: AbortSignal,
  ): Promise<IncomingMessage | null> {
    const until = performance.now() + patienceMs;
    for (;;) {
      try {
        return await send(incoming, url, body, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        if (performance.now() >= until) return null;
      }
      await wait(retryMs, undefined, { signal });
    }
  }

  function send(incoming: IncomingMessage, url: string, body: Buffer, signal: AbortSignal): Promise<IncomingMessage> {
    const headers = {
      ...passedOn(incoming.headers, true),
      authorization: `Bearer ${door.token}`,
      'content-length': String(body.length),
    };
    const common: RequestOptions = { method: incoming.method, headers, signal, timeout: 0 };
    return new Promise((resolve, reject) => {
      let sent;
      if (door.socket === undefined) {
        const base = new URL(door.url ?? 'http://127.0.0.1');
        // Put together, never resolved: `new URL` would follow dot segments out of /models.
        const target = {
          ...common,
          host: base.hostname.replace(/^\[(.*)\]$/, '$1'),
          port: base.port === '' ? undefined : base.port,
          path: `${base.pathname.replace(/\/$/, '')}/models${url}`,
        };
        sent = base.protocol === 'https:' ? httpsRequest(target) : httpRequest({ ...target, agent: connections });
      } else {
        sent = httpRequest({ ...common, socketPath: door.socket, path: `/models${url}`, agent: connections });
      }
      sent.once('response', resolve);
      sent.once('error', reject);
      sent.end(body);
    });
  }

  const server = createServer((incoming, response) => {
    handle(incoming, response).catch(() => {
      // Cut on one side: the other must see it as a cut, not as an end.
      response.destroy();
    });
  });
  const tunnels = createTunnels({ door, patienceMs, retryMs, ...options.tunnels });
  server.on('connect', tunnels.open);
  // More than any agent needs; what it opens beyond them is in its own way alone.
  server.maxConnections = 512;
  server.requestTimeout = 0;
  // A client's pooled connection must not be closed under its next request.
  server.keepAliveTimeout = 300_000;
  if (options.listen === undefined) {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  } else {
    await listenInFolder(server, options.listen.folder);
    host = `127.0.0.1:${INSIDE_PORT}`;
  }
  server.unref();
  return {
    baseUrl: `http://${host}`,
    close: () =>
      new Promise((resolve) => {
        closing.abort();
        connections.destroy();
        tunnels.close();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Whether a path has segments that mean another folder (RFC 3986, 5.2.4), also where they are percent-encoded, or a backslash. */
function climbs(url: string): boolean {
  const path = url.split('?')[0] ?? '';
  return /\\|%5c/i.test(path) || path.split(/\/|%2f/i).some((segment) => /^(?:\.|%2e){1,2}$/i.test(segment));
}

function passedOn(headers: IncomingHttpHeaders, toDoor: boolean): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    const drop = toDoor
      ? DROPPED.has(name)
      : name === 'connection' || name === 'keep-alive' || name === 'transfer-encoding';
    if (value !== undefined && !drop) kept[name] = value;
  }
  return kept;
}

/** A whole body; null where it is longer than it may be. Errors: it was cut off, or does not come. */
async function readBody(incoming: IncomingMessage, maxBytes: number, idleMs: number): Promise<Buffer | null> {
  const isTooLong = Number(incoming.headers['content-length'] ?? 0) > maxBytes;
  const chunks: Buffer[] = [];
  let bytes = 0;
  const idle = setTimeout(() => incoming.destroy(), idleMs).unref();
  try {
    // Read to its end all the same: whoever is in the middle of sending does not look for an answer.
    for await (const chunk of incoming) {
      idle.refresh();
      bytes += (chunk as Buffer).length;
      if (isTooLong || bytes > maxBytes) chunks.length = 0;
      else chunks.push(chunk as Buffer);
    }
  } finally {
    clearTimeout(idle);
  }
  return bytes > maxBytes ? null : Buffer.concat(chunks);
}

function refuse(response: ServerResponse, status: number, type: string, message: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ type: 'error', error: { type, message } }));
}
