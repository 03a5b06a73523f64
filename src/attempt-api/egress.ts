import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { splice } from '../agent/splice.ts';
import { findAllowed, parseTarget, targetText, type AllowedHost, type HostAndPort } from '../contract/allowed-host.ts';
import type { EgressFact } from '../flow/egress.ts';
import type { Knocker } from './models.ts';
import { createReach, type ReachOptions, type Refusal, type Wanted } from './reach.ts';

/**
 * The way out of a sandbox: `CONNECT host:port` at the attempt door, to the hosts of `sandbox.allow_hosts` and to nothing else. Names
 * are resolved here, and it is the address that was looked at that is connected to. What goes through is not opened.
 */
export interface Egress<Holder> {
  /** Takes over the connection of a CONNECT, whatever becomes of it. No caller: its token is of no attempt. */
  open(request: IncomingMessage, socket: Duplex, head: Buffer, caller: Holder | undefined): void;
  /** Cuts all there are. */
  close(): void;
}

export interface EgressDeps<Holder> extends Partial<ReachOptions> {
  allowed: readonly AllowedHost[];
  /** Told of each refusal, each tunnel, and its end. */
  tell(caller: Holder, fact: EgressFact): void;
  maxTunnels?: number | undefined;
  idleMs?: number | undefined;
}

/** Tunnels of an attempt at once. npm opens 15 to a registry (its `maxsockets`), a browser 6 to each host. */
const MAX_TUNNELS = 100;
/** A tunnel through which nothing went for so long is closed (ms). */
const TUNNEL_IDLE_MS = 5 * 60_000;
/** How long a name may take to be resolved, and a host to take a connection (ms). */
const CONNECT_MS = 15_000;
/** How long whoever was refused is given to read why (ms). */
const READ_MS = 5000;

const REASONS = {
  400: 'Bad Request',
  403: 'Forbidden',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
} as const;

export function createEgress<Holder extends Knocker>(deps: EgressDeps<Holder>): Egress<Holder> {
  const { allowed, tell, resolve, kindOf } = deps;
  const { maxTunnels = MAX_TUNNELS, idleMs = TUNNEL_IDLE_MS, connectMs = CONNECT_MS } = deps;
  const sockets = new Set<Duplex>();
  const reach = createReach({ resolve, kindOf, connectMs });
  /** How many each attempt has. */
  const counts = new WeakMap<Holder, number>();

  function open(request: IncomingMessage, socket: Duplex, head: Buffer, caller: Holder | undefined): void {
    socket.on('error', () => undefined);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    if (caller === undefined) {
      refuse(socket, { status: 403, code: 'forbidden', why: 'This token belongs to no attempt that runs.' });
      return;
    }
    if (caller.stopped.signal.aborted) {
      refuse(socket, { status: 403, code: 'forbidden', why: 'This attempt was stopped: no more connections.' });
      return;
    }
    const target = parseTarget(request.url ?? '');
    const text = target === null ? null : targetText(target);
    const judged = judge(target, counts.get(caller) ?? 0);
    if ('why' in judged) {
      tell(caller, { kind: 'refused', target: text, code: judged.code, why: judged.why });
      refuse(socket, judged);
      return;
    }
    counts.set(caller, (counts.get(caller) ?? 0) + 1);
    if (head.length > 0) socket.unshift(head);
    tunnel(socket, judged, caller)
      .catch((error: unknown) => {
        tell(caller, { kind: 'refused', target: text, code: 'internal', why: String(error) });
        socket.destroy();
      })
      .finally(() => counts.set(caller, (counts.get(caller) ?? 1) - 1));
  }

  /** Before anything is done: may it be, by what is asked alone? */
  function judge(target: HostAndPort | null, tunnels: number): Refusal | Wanted {
    if (target === null) {
      const why = 'CONNECT takes `host:port`, and nothing else.';
      return { status: 400, code: 'malformed_target', why };
    }
    const entry = findAllowed(allowed, target);
    if (entry === undefined) {
      const why =
        allowed.length === 0
          ? `No host may be reached from here, and so not ${targetText(target)}.`
          : `${targetText(target)} is not among the hosts that may be reached.`;
      const hint = `Whoever runs AIdeator can add it to sandbox.allow_hosts.`;
      return { status: 403, code: 'host_not_allowed', why, hint };
    }
    if (tunnels >= maxTunnels) {
      const why = `An attempt may have ${maxTunnels} connections at once.`;
      return { status: 503, code: 'too_many_tunnels', why };
    }
    return { target, entry };
  }

  async function tunnel(socket: Duplex, wanted: Wanted, caller: Holder): Promise<void> {
    const { target } = wanted;
    const text = targetText(target);
    const { signal: ended } = caller.stopped;
    const left = new AbortController();
    const cut = (): void => void socket.destroy();
    ended.addEventListener('abort', cut);
    socket.once('close', () => left.abort());
    try {
      const reached = await reach(wanted, left.signal);
      if ('why' in reached) {
        if (left.signal.aborted) return;
        tell(caller, { kind: 'refused', target: text, code: reached.code, why: reached.why });
        refuse(socket, reached);
        return;
      }
      tell(caller, { kind: 'opened', target: text });
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      const { fromFirst: sent, fromSecond: received } = await splice(socket, reached, idleMs);
      tell(caller, { kind: 'closed', target: text, sent, received });
    } finally {
      ended.removeEventListener('abort', cut);
    }
  }

  return {
    open,
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Answers a CONNECT, and lets go of it. */
function refuse(socket: Duplex, { status, code, why, hint }: Refusal): void {
  const body = JSON.stringify({ error: { type: code, message: hint === undefined ? why : `${why} ${hint}` } });
  const head = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  // Read, so that its end is seen.
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), READ_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
