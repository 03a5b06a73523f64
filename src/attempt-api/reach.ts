import { lookup, type LookupAddress } from 'node:dns';
import { connect, isIP, type Socket } from 'node:net';
import { targetText, type AllowedHost, type HostAndPort } from '../contract/allowed-host.ts';
import { kindOfAddressHere, type AddressKind } from './addresses.ts';
import { createTurns } from './turns.ts';

/** What was asked for, and the entry that allows it. */
export interface Wanted {
  target: HostAndPort;
  entry: AllowedHost;
}

/** Why there is no tunnel: what the agent's program is answered, and the log tells. */
export interface Refusal {
  status: 400 | 403 | 502 | 503 | 504;
  code: string;
  why: string;
  hint?: string;
}

/** All addresses of a name. */
export type Resolve = (host: string) => Promise<LookupAddress[]>;

export interface ReachOptions {
  /** As this machine's own programs see names, where it is left out. */
  resolve?: Resolve | undefined;
  /** What an address is of; a test, which has none but its machine's, plays others. */
  kindOf?: ((address: string) => AddressKind) | undefined;
  /** How long a name may take to be resolved, and its host to take the connection (ms). */
  connectMs: number;
}

/** getaddrinfo holds a thread of the pool that files need too, and a name server may take its time. */
const LOOKUPS_AT_ONCE = 2;

/**
 * Connects to a host that is allowed, at an address that may be connected to; else says why not. Rejects never.
 */
export function createReach(options: ReachOptions) {
  const { resolve = resolveName, kindOf = kindOfAddressHere, connectMs } = options;
  const inTurn = createTurns(LOOKUPS_AT_ONCE);

  return async ({ target, entry }: Wanted, signal: AbortSignal): Promise<Refusal | Socket> => {
    const text = targetText(target);
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(connectMs)]);
    let found: LookupAddress[];
    try {
      const family = isIP(target.host);
      const asked = () => inTurn(inTime, () => resolve(target.host));
      found = family === 0 ? await orAborted(asked(), inTime) : [{ address: target.host, family }];
    } catch (error) {
      return { status: 502, code: 'host_unknown', why: `${text}: its name could not be resolved: ${codeOf(error)}.` };
    }
    const addresses = found.filter(({ address }) => mayReach(kindOf(address), target, entry));
    if (addresses.length === 0) {
      const why = `${text} is at an address that is not of the internet.`;
      const hint =
        'Whoever runs AIdeator can allow it: `host:port private`, or the IP address itself, in sandbox.allow_hosts.';
      return { status: 403, code: 'address_not_allowed', why, hint };
    }
    try {
      return await connectTo(addresses, target.port, inTime);
    } catch (error) {
      const why = `${text} could not be reached: ${codeOf(error)}.`;
      const isLate = inTime.aborted && !signal.aborted;
      return { status: isLate ? 504 : 502, code: 'host_unreachable', why };
    }
  };
}

/** Whether an entry allows this address of a host. */
function mayReach(kind: AddressKind, { host }: HostAndPort, entry: AllowedHost): boolean {
  // Written down as it is: whoever did knows what it is.
  if (isIP(host) !== 0) return true;
  // A name must never lead to this machine, nor to what a cloud tells its machines, whatever name servers say.
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
