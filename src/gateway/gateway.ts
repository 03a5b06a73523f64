import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dialect, ProviderKind } from '../contract/dialect.ts';
import type { ErrorCode } from '../errors.ts';

/** The seam of the gateway: the only model endpoint that an agent can reach. */

export interface ProviderConfig {
  kind: ProviderKind;
  /** Without a trailing slash; for anthropic before /v1, for gemini before /v1beta, for openai with its /v1. */
  baseUrl: string;
  /** The key itself; null where none is set. Asked anew for each call: a key may be changed while the server runs. */
  readonly key: string | null;
  /** Where the key comes from, in words (`environment ANTHROPIC_API_KEY`); null where nothing could hold one. */
  keyFrom: string | null;
  keyNeeded: boolean;
  /** Sent with each request beside the protocol's own. */
  headers?: Readonly<Record<string, string>> | undefined;
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
  /** `<provider>/<model>`: the one that was asked; where none was, that of the variation. */
  model: string;
  dialect: Dialect;
  status: number;
  tokens: Tokens;
  costMicrodollars: number | null;
  /** All of it, what it waited included. */
  durationMs: number;
  /** How long it waited for the provider to take requests again. */
  waitedMs: number;
  /** What went wrong, without any secret; null where nothing did. */
  error: string | null;
  /** Why the gateway itself refused or ended it; null where it did not. */
  code: ErrorCode | null;
}

/** Whose call it is, and what it may use. */
export interface Caller {
  attemptId: string;
  /** `<provider>/<model>`. */
  model: string;
  /** What else its agent asks for by itself, and the model it gets: see `AgentEntry.models`. */
  helpers?: Readonly<Record<string, string>> | undefined;
}

/** The most that a call can use, as far as that is known before it is made. */
export interface Claim {
  /** `<provider>/<model>`. */
  model: string;
  dialect: Dialect;
  tokens: number;
  /** null = the model has no price. */
  microdollars: number | null;
}

/** Where one call is written down. */
export interface Booking {
  /**
   * Before the call is made: sets its claim aside. Errors: an AppError where the call may not be made, or could not be written
   * down; the signal's reason.
   */
  reserve(claim: Claim, signal: AbortSignal): Promise<void>;
  /** Something that whoever watches the variation should know of, while the call goes on. */
  note(content: string, facts: { code: string } & Record<string, unknown>): void;
  /** Once, when the call is over, also where it was never made. */
  settle(call: ModelCall): void;
}

export interface Gateway {
  /** Handles a request to one of the routes of `routeOf`. Never rejects: what goes wrong is said to the agent and to `booking`. */
  handle(request: IncomingMessage, response: ServerResponse, caller: Caller, booking: Booking): Promise<void>;
  /** The dialects in which a model can be asked. Errors: unknown_model, provider_key_missing, where it could not be at all. */
  check(model: string): readonly [Dialect, ...Dialect[]];
  /** Whether it is known what a model costs. */
  hasPrice(model: string): boolean;
  close(): Promise<void>;
}
