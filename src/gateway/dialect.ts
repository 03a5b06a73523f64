import type { Dialect } from '../contract/dialect.ts';
import type { ErrorCode } from '../errors.ts';

export type { Dialect } from '../contract/dialect.ts';

export const dialectNames: Readonly<Record<Dialect, string>> = {
  anthropic: 'Anthropic Messages (/v1/messages)',
  openai: 'OpenAI Chat Completions (/v1/chat/completions)',
  responses: 'OpenAI Responses (/v1/responses)',
  gemini: 'Gemini (/v1beta/models/…:generateContent)',
};

/** What a path of the gateway asks for. */
export interface Route {
  dialect: Dialect;
  /** `count` = only how many tokens a request has, which no maker bills. */
  what: 'answer' | 'count';
  /** Gemini names the model in its path, and by its method whether the answer is a stream; null = the body says it. */
  named: { model: string; stream: boolean } | null;
}

const GEMINI_PATH = /^\/v1(?:beta)?\/models\/([^:]+):(generateContent|streamGenerateContent|countTokens)$/;

/** The route of a path without its query, or undefined where the gateway has none. */
export function routeOf(path: string): Route | undefined {
  switch (path) {
    case '/v1/messages':
      return { dialect: 'anthropic', what: 'answer', named: null };
    case '/v1/messages/count_tokens':
      return { dialect: 'anthropic', what: 'count', named: null };
    case '/v1/chat/completions':
      return { dialect: 'openai', what: 'answer', named: null };
    case '/v1/responses':
      return { dialect: 'responses', what: 'answer', named: null };
    default:
  }
  const [, name, method] = GEMINI_PATH.exec(path) ?? [];
  const model = name === undefined ? undefined : decoded(name);
  if (model === undefined) return undefined;
  return {
    dialect: 'gemini',
    what: method === 'countTokens' ? 'count' : 'answer',
    named: { model, stream: method === 'streamGenerateContent' },
  };
}

/** The dialect in which an error about a path is said, whether or not there is such a route. */
export function dialectOfPath(path: string): Dialect {
  if (path.startsWith('/v1/messages')) return 'anthropic';
  if (path.startsWith('/v1/responses')) return 'responses';
  return path.startsWith('/v1beta') || GEMINI_PATH.test(path) ? 'gemini' : 'openai';
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
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
 * Whether a provider's error status says that no model worked. The protocols' makers bill no refused request; what a 500
 * or a proxy's 502 has spent is unknown.
 */
export function refusedBeforeWork(status: number): boolean {
  return (status >= 400 && status < 500) || status === 503 || status === 529;
}

/**
 * The HTTP status that a dialect's clients are told. Codex (0.169) repeats a 402 five times and a 400 never; what its error says is
 * the same.
 */
export function statusFor(dialect: Dialect, status: number): number {
  return dialect === 'responses' && status === 402 ? 400 : status;
}

interface Said {
  status: number;
  /** AIdeator's own word for it, where it has one. */
  code?: string | null;
  message: string;
}

/** An error body as the dialect's clients expect it. */
export function errorBody(dialect: Dialect, error: Said): string {
  const { status, code = null, message } = error;
  switch (dialect) {
    case 'anthropic':
      return JSON.stringify({
        type: 'error',
        error: { type: typeOf('anthropic', status), message, ...(code === null ? {} : { code }) },
      });
    case 'openai':
    case 'responses':
      return JSON.stringify({ error: { message, type: typeOf('openai', status), param: null, code } });
    case 'gemini':
      return JSON.stringify({ error: geminiError(error) });
  }
}

/** The same error as an event of a stream that has begun. */
export function errorEvent(dialect: Dialect, error: Said): string {
  switch (dialect) {
    case 'anthropic':
      return `event: error\ndata: ${errorBody(dialect, error)}\n\n`;
    case 'responses': {
      // Codex and the SDKs end a stream by `response.failed`; of `error` not all of them take notice.
      const failed = { code: error.code ?? typeOf('openai', error.status), message: error.message };
      const response = { object: 'response', status: 'failed', error: failed, output: [], usage: null };
      return `event: response.failed\ndata: ${JSON.stringify({ type: 'response.failed', response })}\n\n`;
    }
    case 'openai':
    case 'gemini':
      return `data: ${errorBody(dialect, error)}\n\n`;
  }
}

function geminiError({ status, code = null, message }: Said): Record<string, unknown> {
  const details =
    code === null
      ? {}
      : { details: [{ '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: code, domain: 'aideator' }] };
  return { code: status, message, status: geminiStatus(status), ...details };
}

function geminiStatus(status: number): string {
  const known: Record<number, string> = {
    401: 'UNAUTHENTICATED',
    402: 'FAILED_PRECONDITION',
    403: 'PERMISSION_DENIED',
    404: 'NOT_FOUND',
    429: 'RESOURCE_EXHAUSTED',
    499: 'CANCELLED',
    503: 'UNAVAILABLE',
    504: 'DEADLINE_EXCEEDED',
    529: 'UNAVAILABLE',
  };
  return known[status] ?? (status < 500 ? 'INVALID_ARGUMENT' : 'INTERNAL');
}

function typeOf(maker: 'anthropic' | 'openai', status: number): string {
  const known: Record<number, readonly [anthropic: string, openai: string]> = {
    401: ['authentication_error', 'authentication_error'],
    402: ['billing_error', 'insufficient_quota'],
    403: ['permission_error', 'permission_error'],
    404: ['not_found_error', 'not_found_error'],
    413: ['request_too_large', 'invalid_request_error'],
    429: ['rate_limit_error', 'rate_limit_error'],
    504: ['timeout_error', 'server_error'],
    529: ['overloaded_error', 'overloaded_error'],
  };
  const rest: readonly [string, string] =
    status < 500 ? ['invalid_request_error', 'invalid_request_error'] : ['api_error', 'server_error'];
  return (known[status] ?? rest)[maker === 'anthropic' ? 0 : 1];
}
