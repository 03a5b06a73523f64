import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dialect, ProviderKind } from '../contract/dialect.ts';

/** The seam of the gateway: the only model endpoint that an agent can reach. */

export interface ProviderConfig {
  kind: ProviderKind;
  /** Without a trailing slash; for anthropic before /v1, for gemini before /v1beta, for openai with its /v1. */
  baseUrl: string;
  /** The key itself; null where none is set. */
  key: string | null;
  /** Where the key comes from, in words (`environment ANTHROPIC_API_KEY`); null where nothing could hold one. */
  keyFrom: string | null;
  keyNeeded: boolean;
}

export interface Tokens {
  input: number | null;
  output: number | null;
  cacheRead: number | null;
  cacheWrite: number | null;
}

/** One model call as it was metered. */
export interface ModelCall {
  at: string;
  provider: string;
  /** `<provider>/<model>` as the variation has it. */
  model: string;
  dialect: Dialect;
  status: number;
  tokens: Tokens;
  costMicrodollars: number | null;
  durationMs: number;
  /** What went wrong, without any secret; null where nothing did. */
  error: string | null;
}

/** Whose call it is, and what it may use. */
export interface Caller {
  attemptId: string;
  /** `<provider>/<model>`. */
  model: string;
}

export interface Gateway {
  /** Handles a request to one of the routes of `routeOf`; `record` gets what was used once the call is over. */
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    record: (call: ModelCall) => void,
  ): Promise<void>;
  /** The dialects in which a model can be asked. Errors: unknown_model, provider_key_missing, where it could not be at all. */
  check(model: string): readonly [Dialect, ...Dialect[]];
  close(): Promise<void>;
}
