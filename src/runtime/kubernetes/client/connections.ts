import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { createSecureContext } from 'node:tls';
import type { TlsMaterial } from './credentials.ts';

/** Sockets by purpose and identity: kept ones for unary requests, one of its own for each stream. */
export interface Connections {
  unary(tls: TlsMaterial): HttpAgent;
  stream(tls: TlsMaterial): HttpAgent;
  close(): void;
}

interface Pair {
  tls: TlsMaterial;
  unary: HttpAgent;
  stream: HttpAgent;
}

/** How long a connection that nobody uses is kept (ms). */
const IDLE_MS = 60_000;

export function createConnections(server: URL, maxSockets: number): Connections {
  let current: Pair | null = null;
  const retired: Pair[] = [];

  function make(tls: TlsMaterial): Pair {
    const kept = {
      keepAlive: true,
      maxSockets,
      maxFreeSockets: maxSockets,
      timeout: IDLE_MS,
      scheduling: 'lifo',
    } as const;
    if (server.protocol === 'http:') {
      return { tls, unary: new HttpAgent(kept), stream: new HttpAgent({ keepAlive: false }) };
    }
    const { rejectUnauthorized, servername, ...keys } = tls;
    // One for all connections: else each parses the certificates again and keeps a copy, which is most of what a stream costs.
    const shared = {
      secureContext: createSecureContext(keys),
      rejectUnauthorized,
      ...(servername === undefined ? {} : { servername }),
    };
    return {
      tls,
      unary: new HttpsAgent({ ...shared, ...kept }),
      stream: new HttpsAgent({ ...shared, keepAlive: false }),
    };
  }

  /** New certificates: what is under way on old connections comes to its end, and then they are closed. */
  function retire(pair: Pair): void {
    pair.unary.maxFreeSockets = 0;
    for (const sockets of Object.values(pair.unary.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
    retired.push(pair);
  }

  function pairFor(tls: TlsMaterial): Pair {
    if (current?.tls === tls) return current;
    if (current !== null) retire(current);
    current = make(tls);
    return current;
  }

  return {
    unary: (tls) => pairFor(tls).unary,
    stream: (tls) => pairFor(tls).stream,
    close: () => {
      for (const pair of [...retired, ...(current === null ? [] : [current])]) {
        // Node's agent makes new sockets for requests that waited for those destroyed here, though they are over: none is kept.
        pair.unary.maxFreeSockets = 0;
        pair.unary.destroy();
        pair.stream.destroy();
      }
      retired.length = 0;
    },
  };
}
