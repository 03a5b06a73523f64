import { APICallError, EmptyResponseBodyError, StreamProviderError } from 'ai';

/** What became of a model call that failed, in the few kinds that are dealt with differently. */
export class ModelFailure extends Error {
  override readonly name = 'ModelFailure';
  /** `auth`: no other try helps. `transient`: the same call may well work later. `provider`: it will not. */
  readonly kind: 'auth' | 'transient' | 'provider';
  /** HTTP status; null where there was no answer. */
  readonly status: number | null;
  /** What the provider asks to wait (ms). */
  readonly retryAfterMs: number | null;

  constructor(
    kind: ModelFailure['kind'],
    message: string,
    facts: { status?: number | null; retryAfterMs?: number | null; cause?: unknown } = {},
  ) {
    super(message, { cause: facts.cause });
    this.kind = kind;
    this.status = facts.status ?? null;
    this.retryAfterMs = facts.retryAfterMs ?? null;
  }
}

const TRANSIENT: ReadonlySet<number> = new Set([408, 409, 425, 429, 500, 502, 503, 504, 529]);

/** Any error of the SDK's as a ModelFailure. */
export function failureOf(error: unknown): ModelFailure {
  if (error instanceof ModelFailure) return error;
  if (APICallError.isInstance(error)) {
    const status = error.statusCode ?? null;
    const message = error.message || 'no message';
    if (status === null) return new ModelFailure('transient', message, { cause: error });
    if (status < 400) {
      // A cut right behind the head looks like this. Anything else that is no answer of the protocol will be the same the next time.
      const cut = error.isRetryable || isCut(error.cause) || EmptyResponseBodyError.isInstance(error.cause);
      return new ModelFailure(cut ? 'transient' : 'provider', `${message} (status ${status})`, {
        status,
        cause: error,
      });
    }
    return new ModelFailure(kindOf(status), `${message} (status ${status})`, {
      status,
      retryAfterMs: retryAfterOf(error.responseHeaders ?? {}),
      cause: error,
    });
  }
  if (StreamProviderError.isInstance(error)) {
    const status = error.statusCode ?? null;
    const kind = status === null ? (error.isRetryable || isCut(error) ? 'transient' : 'provider') : kindOf(status);
    return new ModelFailure(kind, error.message, { status, cause: error });
  }
  const message = messageOf(error);
  return new ModelFailure(isCut(error) ? 'transient' : 'provider', message, { cause: error });
}

function kindOf(status: number): ModelFailure['kind'] {
  if (status === 401 || status === 403) return 'auth';
  return TRANSIENT.has(status) || status > 500 ? 'transient' : 'provider';
}

/** Whether a stream broke off: undici's `terminated`, sockets, and what proxies make of them. */
function isCut(error: unknown): boolean {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    const code: unknown = 'code' in at ? at.code : undefined;
    if (typeof code === 'string' && /^(?:ECONN|EPIPE|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|UND_ERR)/.test(code)) return true;
    if (
      /^terminated$|fetch failed|socket hang up|other side closed|premature|ended without a finish reason/i.test(
        at.message,
      )
    )
      return true;
  }
  return false;
}

function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message;
  if (typeof error === 'string') return error;
  if (typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string')
    return error.message;
  return JSON.stringify(error) ?? 'unknown';
}

/** `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, 10.2.3). */
export function retryAfterOf(headers: Record<string, string>, at = Date.now()): number | null {
  const ms = Number(headers['retry-after-ms'] ?? NaN);
  if (ms >= 0) return ms;
  const said = headers['retry-after'];
  if (said === undefined) return null;
  const seconds = Number(said);
  if (seconds >= 0) return seconds * 1000;
  const date = Date.parse(said);
  return Number.isNaN(date) ? null : Math.max(0, date - at);
}
