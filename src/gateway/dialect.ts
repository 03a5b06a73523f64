import type { ErrorCode } from '../errors.ts';

/** The two protocols an agent may speak with the gateway: Anthropic Messages, OpenAI Chat Completions. */
export type Dialect = 'anthropic' | 'openai';

export const dialectNames: Readonly<Record<Dialect, string>> = {
  anthropic: 'Anthropic Messages (/v1/messages)',
  openai: 'OpenAI Chat Completions (/v1/chat/completions)',
};

/** The route's dialect, or undefined where the gateway has no such route. `path` is without a query. */
export function dialectOf(path: string): Dialect | undefined {
  if (path === '/v1/messages') return 'anthropic';
  if (path === '/v1/chat/completions') return 'openai';
  return undefined;
}

/** What ended a call otherwise than the provider's own answer. Its message goes to the agent: it never holds a secret. */
export class CallFault extends Error {
  override readonly name = 'CallFault';
  /** HTTP status for the agent. */
  readonly status: number;
  readonly code: ErrorCode;
  /** What the record says of it, where that is more than the agent is told. */
  readonly note: string;
  /** True where it is certain that no model worked, so that nothing was spent. */
  readonly nothingSpent: boolean;
  /** Seconds or an HTTP date, as the provider said it. */
  readonly retryAfter: string | undefined;

  constructor(
    status: number,
    code: ErrorCode,
    message: string,
    options: { note?: string; nothingSpent?: boolean; retryAfter?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = status;
    this.code = code;
    this.note = options.note ?? message;
    this.nothingSpent = options.nothingSpent ?? false;
    this.retryAfter = options.retryAfter;
  }
}

/**
 * Whether a provider's error status says that no model worked. Both protocols' makers bill no refused request; what a 500
 * or a proxy's 502 has spent is unknown.
 */
export function refusedBeforeWork(status: number): boolean {
  return (status >= 400 && status < 500) || status === 503 || status === 529;
}

/** An error body as the dialect's clients expect it. `code` is AIdeator's own word for it, where it has one. */
export function errorBody(dialect: Dialect, error: { status: number; code?: string | null; message: string }): string {
  const { status, code = null, message } = error;
  if (dialect === 'anthropic') {
    return JSON.stringify({
      type: 'error',
      error: { type: anthropicType(status), message, ...(code === null ? {} : { code }) },
    });
  }
  return JSON.stringify({ error: { message, type: openaiType(status), param: null, code } });
}

/** The same error as an event of a stream that has begun. */
export function errorEvent(dialect: Dialect, error: { status: number; code?: string | null; message: string }): string {
  const data = `data: ${errorBody(dialect, error)}\n\n`;
  return dialect === 'anthropic' ? `event: error\n${data}` : data;
}

function anthropicType(status: number): string {
  const known: Record<number, string> = {
    401: 'authentication_error',
    403: 'permission_error',
    404: 'not_found_error',
    413: 'request_too_large',
    429: 'rate_limit_error',
    504: 'timeout_error',
    529: 'overloaded_error',
  };
  return known[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error');
}

function openaiType(status: number): string {
  const known: Record<number, string> = {
    401: 'authentication_error',
    403: 'permission_error',
    404: 'not_found_error',
    429: 'rate_limit_error',
    529: 'overloaded_error',
  };
  return known[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error');
}
