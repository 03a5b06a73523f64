import { lookup, type LookupAddress } from 'node:dns';
import type { IncomingMessage } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { splice } from '../agent/splice.ts';
import { findAllowed, parseTarget, targetText, type AllowedHost, type HostAndPort } from '../contract/allowed-host.ts';
import type { EgressFact } from '../flow/egress.ts';
import { kindOfAddress } from './addresses.ts';
import type { Knocker } from './models.ts';
import { createTurns } from './turns.ts';

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

export interface EgressDeps<Holder> {
  allowed: readonly AllowedHost[];
  /** Told of each refusal, each tunnel, and its end. */
  tell(caller: Holder, fact: EgressFact): void;
  /** All addresses of a name; as this machine's own programs see it, where it is left out. */
  resolve?: ((host: string) => Promise<LookupAddress[]>) | undefined;
  maxTunnels?: number | undefined;
  idleMs?: number | undefined;
  connectMs?: number | undefined;
}

/** Tunnels of an attempt at once. npm opens 15 to a registry (its `maxsockets`), a browser 6 to each host. */
export const MAX_TUNNELS = 100;
/** A tunnel through which nothing went for so long is closed (ms). */
export const TUNNEL_IDLE_MS = 5 * 60_000;
/** How long a name may take to be resolved, and a host to take a connection (ms). */
const CONNECT_MS = 15_000;
/** How long whoever was refused is given to read why (ms). */
const READ_MS = 5000;
/** getaddrinfo holds a thread of the pool that files need too; a name server may take its time. */
const LOOKUPS_AT_ONCE = 2;

/** Why there is no tunnel: what the agent's program is answered, and the log tells. */
interface Refusal {
  status: 400 | 403 | 502 | 503 | 504;
  code: string;
  why: string;
  hint?: string;
}

const REASONS = {
  400: 'Bad Request',
  403: 'Forbidden',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
} as const;

export function createEgress<Holder extends Knocker>(deps: EgressDeps<Holder>): Egress<Holder> {
  const { allowed, tell, resolve = resolveName } = deps;
  const { maxTunnels = MAX_TUNNELS, idleMs = TUNNEL_IDLE_MS, connectMs = CONNECT_MS } = deps;
  const sockets = new Set<Duplex>();
  const inTurn = createTurns(LOOKUPS_AT_ONCE);
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

  /** A connection to an address that may be connected to. */
  async function reach({ target, entry }: Wanted, signal: AbortSignal): Promise<Refusal | Socket> {
    const text = targetText(target);
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(connectMs)]);
    let found: LookupAddress[];
    try {
      const family = isIP(target.host);
      found =
        family === 0
          ? await inTurn(inTime, () => orAborted(resolve(target.host), inTime))
          : [{ address: target.host, family }];
    } catch (error) {
      return { status: 502, code: 'host_unknown', why: `${text}: its name could not be resolved: ${codeOf(error)}.` };
    }
    const addresses = found.filter(({ address }) => mayReach(address, target, entry));
    if (addresses.length === 0) {
      const hint =
        'Whoever runs AIdeator can allow it: `host:port private`, or the IP address itself, in sandbox.allow_hosts.';
      const why = `${text} is at an address that is not of the internet.`;
      return { status: 403, code: 'address_not_allowed', why, hint };
    }
    try {
      return await connectTo(addresses, target.port, inTime);
    } catch (error) {
      const why = `${text} could not be reached: ${codeOf(error)}.`;
      const isLate = inTime.aborted && !signal.aborted;
      return { status: isLate ? 504 : 502, code: 'host_unreachable', why };
    }
  }

  return {
    open,
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** What was asked for, and the entry that allows it. */
interface Wanted {
  target: HostAndPort;
  entry: AllowedHost;
}

/** Whether an entry allows this address of a host. */
function mayReach(address: string, { host }: HostAndPort, entry: AllowedHost): boolean {
  // Written down as it is: whoever did knows what it is.
  if (isIP(host) !== 0) return true;
  // A name must never lead to this machine, nor to what a cloud tells its machines, whatever name servers say.
  const kind = kindOfAddress(address);
  return kind === 'public' || (kind === 'private' && entry.allowsPrivate);
}

function resolveName(host: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    lookup(host, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)));
  });
}

/** The name is not resolved again: what was looked at is what is connected to, by each family in its turn (RFC 8305). */
function connectTo(addresses: readonly LookupAddress[], port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connect({
      host: 'resolved.invalid',
      port,
      allowHalfOpen: true,
      autoSelectFamily: true,
      lookup: (_host, _options, done) => done(null, [...addresses]),
    });
    const leave = (): void => void socket.destroy(asError(signal.reason));
    signal.addEventListener('abort', leave, { once: true });
    socket.once('error', (error) => {
      signal.removeEventListener('abort', leave);
      reject(error);
    });
    socket.once('connect', () => {
      signal.removeEventListener('abort', leave);
      resolve(socket);
    });
  });
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(asError(signal.reason));
  signal.addEventListener('abort', leave, { once: true });
  return Promise.race([work, promise]).finally(() => signal.removeEventListener('abort', leave));
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}

/** The system's code (ENOTFOUND, ECONNREFUSED …), else its words. Of several tries the first that has one. */
function codeOf(error: unknown): string {
  const all: unknown[] = error instanceof AggregateError ? error.errors : [error];
  for (const each of all)
    if (each instanceof Error && 'code' in each && typeof each.code === 'string') return each.code;
  return error instanceof Error && error.name === 'TimeoutError' ? 'no answer in time' : asError(error).message;
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
