import { request as httpRequest, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import type { AttemptSpec } from '../contract/attempt.ts';
import { splice } from './splice.ts';

/**
 * The agent's way to other hosts: its `CONNECT host:port` goes on to the attempt door with the attempt's token, and the door decides.
 * Bytes are handed through as they are, over whatever connection the agent's came.
 */
export interface Tunnels {
  /** Takes over the connection of a CONNECT. */
  open(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Cuts all there are. */
  close(): void;
}

export interface TunnelOptions {
  door: AttemptSpec['door'];
  /** How long a door that does not answer is tried again (ms). */
  patienceMs: number;
  retryMs: number;
  /** At once. The door has a bound of its own. */
  maxTunnels?: number | undefined;
  /** A tunnel through which nothing went for so long is closed (ms). */
  idleMs?: number | undefined;
}

/** The door looks a name up and connects before it answers: longer than both may take (ms). */
const ANSWER_MS = 60_000;
/** How long a refusal may take on its way (ms). */
const REFUSAL_MS = 5000;

/** What the door answered. */
interface Answered {
  response: IncomingMessage;
  socket: Socket;
}

export function createTunnels(options: TunnelOptions): Tunnels {
  const { door, patienceMs, retryMs, maxTunnels = 100, idleMs = 5 * 60_000 } = options;
  const sockets = new Set<Duplex>();
  let count = 0;

  function open(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => undefined);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const target = request.url ?? '';
    if (/[^\u0021-\u007e]/.test(target)) {
      refuse(socket, 400, 'Bad Request', 'CONNECT takes `host:port`, in ASCII.');
      return;
    }
    if (count >= maxTunnels) {
      refuse(socket, 503, 'Service Unavailable', `An agent may have ${maxTunnels} connections at once.`);
      return;
    }
    count += 1;
    if (head.length > 0) socket.unshift(head);
    tunnel(target, socket)
      .catch(() => socket.destroy())
      .finally(() => (count -= 1));
  }

  async function tunnel(target: string, socket: Duplex): Promise<void> {
    const left = new AbortController();
    socket.once('close', () => left.abort());
    const answered = await ask(target, left.signal);
    if (answered === null) {
      const why = `The server has not answered for ${Math.round(patienceMs / 1000)} s.`;
      refuse(socket, 503, 'Service Unavailable', why);
      return;
    }
    const { response, socket: beyond } = answered;
    const { statusCode: status = 502, statusMessage = '' } = response;
    if (status !== 200) {
      const kept = ['content-type', 'content-length'].flatMap((name) => {
        const value = response.headers[name];
        return typeof value === 'string' ? [`${name}: ${value}`] : [];
      });
      socket.write(`${[`HTTP/1.1 ${status} ${statusMessage}`, ...kept, 'connection: close'].join('\r\n')}\r\n\r\n`);
      await splice(socket, beyond, REFUSAL_MS);
      return;
    }
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    await splice(socket, beyond, idleMs);
  }

  /** The door's answer; null where the door stayed shut. */
  async function ask(target: string, signal: AbortSignal): Promise<Answered | null> {
    const until = performance.now() + patienceMs;
    for (;;) {
      try {
        return await send(target, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        if (performance.now() >= until) return null;
      }
      await wait(retryMs, undefined, { signal });
    }
  }

  function send(target: string, signal: AbortSignal): Promise<Answered> {
    const common: RequestOptions & { allowHalfOpen: boolean } = {
      method: 'CONNECT',
      path: target,
      headers: { authorization: `Bearer ${door.token}`, host: 'door' },
      // A connection of its own, which is the tunnel from then on.
      agent: false,
      allowHalfOpen: true,
      timeout: ANSWER_MS,
    };
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      let sent: ClientRequest;
      // Not by `signal`: what was taken is to end in its own time.
      const leave = (): void => void sent.destroy(new Error('the agent left'));
      signal.addEventListener('abort', leave, { once: true });
      const done = (): void => signal.removeEventListener('abort', leave);
      if (door.socket === undefined) {
        const base = new URL(door.url ?? 'http://127.0.0.1');
        const where = {
          host: base.hostname.replace(/^\[(.*)\]$/, '$1'),
          port: base.port === '' ? undefined : base.port,
        };
        sent = (base.protocol === 'https:' ? httpsRequest : httpRequest)({ ...common, ...where });
      } else {
        sent = httpRequest({ ...common, socketPath: door.socket });
      }
      sent.once('connect', (response, socket, head) => {
        done();
        socket.setTimeout(0);
        if (head.length > 0) socket.unshift(head);
        resolve({ response, socket });
      });
      // Something that is no attempt door took it for a common request.
      sent.once('response', (response) => {
        response.destroy();
        reject(new Error(`CONNECT was answered ${response.statusCode}`));
      });
      sent.once('timeout', () => sent.destroy(new Error('no answer')));
      sent.once('error', (error) => {
        done();
        reject(error);
      });
      sent.end();
    });
  }

  return {
    open,
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function refuse(socket: Duplex, status: number, reason: string, message: string): void {
  const body = JSON.stringify({ error: { type: 'unavailable', message } });
  const head = `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
  socket.end(`${head}\r\n\r\n${body}`);
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), REFUSAL_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
