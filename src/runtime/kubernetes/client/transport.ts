import { AppError } from '../../../errors.ts';
import { answeredWith, apiError, askedWait, type ApiError } from './api-error.ts';
import { between, createBackoff, pause } from './backoff.ts';
import { createConnections } from './connections.ts';
import type { Access, Credentials } from './credentials.ts';
import { exchange, ExchangeFailure, type Limits } from './exchange.ts';
import { unreachable } from './unreachable.ts';

export interface UnaryRequest {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Below the server's address, e.g. `/api/v1/namespaces/x/pods`. */
  path: string;
  query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  body?: unknown;
  contentType?: string;
  signal?: AbortSignal;
  /** No further try is begun after this long; 0 = one try. */
  budgetMs?: number;
}

export interface StreamRequest {
  path: string;
  query?: UnaryRequest['query'];
  signal?: AbortSignal;
  /** Given up where nothing comes for this long, the answer's head included. */
  idleMs: number;
  /** The answer has begun. */
  onOpen?(): void;
  /** Lent for the call; must not throw. */
  onData(chunk: Buffer): void;
}

/** How an open stream ended. None of these says that there is no more to come. */
export type StreamEnd =
  | { kind: 'end' }
  | { kind: 'reset'; message: string }
  | { kind: 'stalled'; message: string }
  | { kind: 'aborted' };

/** Requests to one API server, as one account. Safe to be shared by everybody. */
export interface Transport {
  /**
   * One request and its JSON answer. Tried again on connection errors, 429 and 5xx for as long as the budget allows, creations
   * too: a 409 may then be our own.
   *
   * Errors: {@link ApiError}; AppError cluster_unreachable; the signal's reason.
   */
  json<T>(request: UnaryRequest): Promise<T>;
  /**
   * A GET whose answer does not end by itself, on a connection of its own. Not tried again. Resolves with how it ended, once it
   * was open; rejects as {@link Transport.json} does where it never was.
   */
  stream(request: StreamRequest): Promise<StreamEnd>;
  /** Ends every connection; what is under way rejects, streams resolve as `reset`. */
  close(): void;
}

export interface TransportTimings {
  connectMs: number;
  /** Of one try. */
  totalMs: number;
  /** Of all tries, where a request does not say. */
  budgetMs: number;
  /** Between tries. */
  backoffMs: readonly number[];
}

const TIMINGS: TransportTimings = {
  connectMs: 10_000,
  totalMs: 30_000,
  budgetMs: 60_000,
  backoffMs: [100, 500, 1000, 2000, 5000],
};

/** An answer may be a page of 500 large objects; more than this is none of the API's. Bytes. */
const ANSWER_BYTES = 256 * 1024 * 1024;
/** What is kept of an answer that is an error. Bytes. */
const ERROR_BYTES = 64 * 1024;

export interface TransportOptions {
  credentials: Credentials;
  /** Connections for unary requests, at most. */
  maxSockets?: number;
  timings?: Partial<TransportTimings>;
  random?: () => number;
}

export function createTransport(options: TransportOptions): Transport {
  const { credentials, random = Math.random } = options;
  const timings = { ...TIMINGS, ...options.timings };
  const closing = new AbortController();
  const connections = createConnections(credentials.server, options.maxSockets ?? 8);

  function addressOf({ path, query }: { path: string; query?: UnaryRequest['query'] | undefined }): URL {
    const url = new URL(credentials.server);
    url.pathname = `${url.pathname.replace(/\/+$/, '')}${path}`;
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return url;
  }

  /** With the credentials that are good now; once more where the server refuses them and there are newer ones. */
  async function withAccess<T>(signal: AbortSignal | undefined, send: (access: Access) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    closing.signal.throwIfAborted();
    const access = await credentials.access();
    try {
      return await send(access);
    } catch (error) {
      const isRefused = answeredWith(error, 401) || (error instanceof ExchangeFailure && error.kind === 'tls');
      if (!isRefused || !(await credentials.renew(access))) throw error;
      return send(await credentials.access());
    }
  }

  /** Good answers go to whom `onGood` says, others become an ApiError. */
  function send(message: Message, signal: AbortSignal | undefined, onGood: () => (chunk: Buffer) => void) {
    const { method, path, limits } = message;
    const body = message.body === undefined ? null : Buffer.from(JSON.stringify(message.body));
    const url = addressOf(message);
    return withAccess(signal, async (access) => {
      const headers: Record<string, string> = { accept: 'application/json', 'user-agent': 'aideator' };
      if (access.authorization !== null) headers['authorization'] = access.authorization;
      if (body !== null) {
        headers['content-type'] = message.contentType ?? 'application/json';
        headers['content-length'] = String(body.length);
      }
      const refusal: Refusal = { head: null, chunks: [], bytes: 0 };
      await exchange({
        agent: limits.totalMs === null ? connections.stream(access.tls) : connections.unary(access.tls),
        url,
        method,
        headers,
        body,
        limits,
        signals: [signal, closing.signal],
        onHead: (httpStatus, head) => {
          if (httpStatus >= 200 && httpStatus < 300) return onGood();
          refusal.head = { httpStatus, retryAfter: head['retry-after'] };
          return (chunk) => {
            if (refusal.bytes < ERROR_BYTES) refusal.chunks.push(Buffer.from(chunk));
            refusal.bytes += chunk.length;
          };
        },
      });
      if (refusal.head === null) return;
      throw apiError(`${method} ${path}`, { ...refusal.head, bytes: Buffer.concat(refusal.chunks) });
    });
  }

  function translate(error: unknown, signal: AbortSignal | undefined): Error {
    if (signal?.aborted) return asError(signal.reason);
    if (closing.signal.aborted) return new AppError('shutting_down', 'The connection to the cluster was closed');
    return error instanceof ExchangeFailure ? unreachable(error, credentials) : asError(error);
  }

  async function once(request: UnaryRequest): Promise<Buffer> {
    const limits = { connectMs: timings.connectMs, totalMs: timings.totalMs, idleMs: null };
    const chunks: Buffer[] = [];
    await send({ ...request, limits }, request.signal, () => {
      // Twice where the first answer was a refusal of the credentials.
      chunks.length = 0;
      let bytes = 0;
      return (chunk) => {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES) throw new Error(`it has more than ${ANSWER_BYTES} bytes`);
        chunks.push(chunk);
      };
    });
    return Buffer.concat(chunks);
  }

  return {
    json: async <T>(request: UnaryRequest) => {
      const backoff = createBackoff(timings.backoffMs, random);
      const end = performance.now() + (request.budgetMs ?? timings.budgetMs);
      for (let isFirst = true; ; isFirst = false) {
        try {
          return parseAnswer(await once(request), `${request.method} ${request.path}`) as T;
        } catch (error) {
          if (closing.signal.aborted || request.signal?.aborted || !isPassing(error))
            throw translate(error, request.signal);
          // A connection that was kept has been closed by the other end meanwhile: nothing is wrong.
          const isStaleSocket = isFirst && isStale(error);
          // Not all that were sent away come back at once.
          const asked = askedWait(error) * between([1, 1.2], random);
          const wait = isStaleSocket ? 0 : Math.max(asked, backoff.next());
          if (performance.now() + wait >= end && !isStaleSocket) throw translate(error, request.signal);
          await pause(wait, request.signal);
        }
      }
    },

    stream: async ({ signal, idleMs, onOpen, onData, ...request }) => {
      const limits = { connectMs: timings.connectMs, totalMs: null, idleMs };
      try {
        await send({ ...request, method: 'GET', limits }, signal, () => {
          onOpen?.();
          return onData;
        });
        return { kind: 'end' };
      } catch (error) {
        if (signal?.aborted) return { kind: 'aborted' };
        if (error instanceof ExchangeFailure && error.answered && error.kind !== 'consumer') {
          return { kind: error.kind === 'stalled' ? 'stalled' : 'reset', message: error.message };
        }
        throw translate(error, signal);
      }
    },

    close: () => {
      closing.abort();
      connections.close();
    },
  };
}

/** An answer that is an error, as far as it is kept. */
interface Refusal {
  head: { httpStatus: number; retryAfter: string | undefined } | null;
  chunks: Buffer[];
  bytes: number;
}

interface Message {
  method: string;
  path: string;
  query?: UnaryRequest['query'] | undefined;
  body?: unknown;
  contentType?: string;
  limits: Limits;
}

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));

/** Whether the same request may succeed in a moment. */
function isPassing(error: unknown): error is ApiError | ExchangeFailure {
  if (error instanceof ExchangeFailure) return ['connect', 'connect_timeout', 'reset', 'timeout'].includes(error.kind);
  return [429, 500, 502, 503, 504].some((status) => answeredWith(error, status));
}

function isStale(error: ApiError | ExchangeFailure): boolean {
  return error instanceof ExchangeFailure && error.reused && !error.answered && error.kind === 'reset';
}

function parseAnswer(bytes: Buffer, request: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch (error) {
    throw new AppError('cluster_unreachable', `What answered ${request} is no Kubernetes API: its answer is no JSON`, {
      cause: error,
      hint: 'Something else may listen at the address of the API server: a proxy, a login page.',
    });
  }
}
