import { request as httpRequest, type Agent, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** One HTTP request and its answer, whatever may happen to the connection: it settles once, and leaves no socket or timer behind. */

export interface Limits {
  /** To a socket that is connected, TLS included. */
  connectMs: number;
  /** To the answer's last byte; null = for ever. */
  totalMs: number | null;
  /** Without any byte of the answer, counted from the request on; null = for ever. */
  idleMs: number | null;
}

export interface Exchange {
  agent: Agent;
  url: URL;
  method: string;
  headers: Record<string, string>;
  body: Buffer | null;
  limits: Limits;
  signals: readonly (AbortSignal | undefined)[];
  /** Takes the head, says who takes the body. The buffers are only lent: what is kept of them has to be copied. */
  onHead(status: number, headers: IncomingHttpHeaders): (chunk: Buffer) => void;
}

export type FailureKind =
  /** No connection came about: refused, no such host, no route. */
  | 'connect'
  | 'connect_timeout'
  /** The server is not who it should be, or does not want us. */
  | 'tls'
  /** The connection ended in the middle. */
  | 'reset'
  | 'timeout'
  /** Open, but silent for too long. */
  | 'stalled'
  | 'aborted'
  /** Whoever takes the body threw. */
  | 'consumer';

export class ExchangeFailure extends Error {
  readonly kind: FailureKind;
  /** Whether the answer's head was seen. */
  readonly answered: boolean;
  /** The connection had been used before: the server may just have closed it for idleness. */
  readonly reused: boolean;
  /** Of the system or of TLS, e.g. ECONNREFUSED, CERT_HAS_EXPIRED. */
  readonly code: string | null;

  constructor(kind: FailureKind, facts: { answered: boolean; reused: boolean; cause?: unknown }) {
    const cause = facts.cause instanceof Error ? facts.cause : null;
    super(cause?.message ?? kind, { cause: facts.cause });
    this.kind = kind;
    this.answered = facts.answered;
    this.reused = facts.reused;
    this.code = cause !== null && 'code' in cause && typeof cause.code === 'string' ? cause.code : null;
  }
}

/** Resolves when the answer has come to its end as HTTP knows it; rejects with an {@link ExchangeFailure} in every other case. */
export function exchange(options: Exchange): Promise<void> {
  const { url, limits } = options;
  const signals = options.signals.filter((signal) => signal !== undefined);
  return new Promise((resolve, reject) => {
    // First, because it throws where a header is none: nothing has to be cleared then.
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
      agent: options.agent,
      method: options.method,
      headers: options.headers,
    });
    let settled = false;
    let answered = false;
    let connected = false;
    let isReused = false;
    let connectTimer: NodeJS.Timeout | null = null;
    const totalTimer = limits.totalMs === null ? null : setTimeout(() => fail('timeout'), limits.totalMs);
    const idleTimer = limits.idleMs === null ? null : setTimeout(() => fail('stalled'), limits.idleMs);

    function settle(): boolean {
      if (settled) return false;
      settled = true;
      for (const timer of [connectTimer, totalTimer, idleTimer]) if (timer !== null) clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener('abort', abort);
      return true;
    }
    function fail(kind: FailureKind, cause?: unknown): void {
      if (!settle()) return;
      request.destroy();
      reject(new ExchangeFailure(kind, { answered, reused: isReused, cause }));
    }
    function abort(): void {
      fail('aborted');
    }

    // These listeners stay: an error that comes after the end must find one, or it would end the process.
    request.on('error', (error) => {
      if (isTlsError(error)) fail('tls', error);
      else fail(connected ? 'reset' : 'connect', error);
    });
    request.on('close', () => fail('reset'));
    request.on('socket', (socket) => {
      // Kept ones come connected, also to a request that waited for one; `reusedSocket` knows only some of them.
      if (!socket.connecting && !isShakingHands(socket)) {
        connected = true;
        isReused = true;
        return;
      }
      // A peer that is gone without a word is found by the kernel, also where nothing is sent for long.
      socket.setKeepAlive(true, 30_000);
      socket.setNoDelay(true);
      if (settled) return;
      connectTimer = setTimeout(() => fail('connect_timeout'), limits.connectMs);
      socket.once(socket instanceof TLSSocket ? 'secureConnect' : 'connect', () => {
        connected = true;
        if (connectTimer !== null) clearTimeout(connectTimer);
      });
    });
    request.on('response', (response) => {
      answered = true;
      idleTimer?.refresh();
      response.on('error', (error) => fail('reset', error));
      response.on('close', () => fail('reset'));
      response.on('end', () => {
        if (!response.complete) fail('reset');
        else if (settle()) resolve();
      });
      let take: (chunk: Buffer) => void;
      try {
        take = options.onHead(response.statusCode ?? 0, response.headers);
      } catch (error) {
        fail('consumer', error);
        return;
      }
      response.on('data', (chunk: Buffer) => {
        if (settled) return;
        idleTimer?.refresh();
        try {
          take(chunk);
        } catch (error) {
          fail('consumer', error);
        }
      });
    });

    if (signals.some((signal) => signal.aborted)) {
      abort();
      return;
    }
    for (const signal of signals) signal.addEventListener('abort', abort, { once: true });
    request.end(options.body ?? undefined);
  });
}

/** Node keeps it on every TLS socket, though not in its types. */
function isShakingHands(socket: Socket): boolean {
  return 'secureConnecting' in socket && socket.secureConnecting === true;
}

/** OpenSSL's verification results and Node's own TLS errors: the names are the codes of X509_verify_cert_error_string and `ERR_TLS_*`. */
function isTlsError(error: Error): boolean {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return (
    /^(ERR_TLS_|ERR_SSL_|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|PATH_LENGTH)/.test(
      code,
    ) || code === 'EPROTO'
  );
}
