import type { IncomingMessage, ServerResponse } from 'node:http';

/** The seam of the gateway: the only model endpoint that an agent can reach. */

export interface ProviderConfig {
  kind: 'anthropic' | 'openai' | 'scripted';
  /** Without a trailing slash; for anthropic before /v1/messages, for openai before /chat/completions (so it usually ends in /v1). */
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
  dialect: 'anthropic' | 'openai';
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
  /** Handles a request to `/v1/messages` or `/v1/chat/completions`; `record` gets what was used once the call is over. */
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    record: (call: ModelCall) => void,
  ): Promise<void>;
  /** Rejects with unknown_model or provider_key_missing where a variation with this model could not run. Returns the dialect its provider speaks. */
  check(model: string): 'anthropic' | 'openai' | 'both';
  close(): Promise<void>;
}
