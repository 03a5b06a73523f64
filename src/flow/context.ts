import type { AgentEntry } from '../agent/catalog.ts';
import type { Config } from '../config.ts';
import type { Caller, Gateway, ProviderConfig } from '../gateway/gateway.ts';
import type { Git } from '../git/command.ts';
import type { Mirrors } from '../git/git.ts';
import type { Runtime } from '../runtime/runtime.ts';
import type { Store } from '../store/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Budgets } from './budget/budgets.ts';
import type { Checkouts } from './checkouts.ts';
import type { SandboxTrial } from './sandbox-trial.ts';
import type { Cleaner, Secrets } from './secrets.ts';
import type { TokenBook } from './tokens.ts';

/** What every step of the flow works with. */
export interface Context {
  config: Config;
  store: Store;
  git: Git;
  mirrors: Mirrors;
  checkouts: Checkouts;
  gateway: Gateway;
  /** What nobody is to see. */
  secrets: Secrets;
  budgets: Budgets;
  providers: Readonly<Record<string, ProviderConfig>>;
  /** Agents by name: the known ones and the configuration's own. */
  agents: ReadonlyMap<string, AgentEntry>;
  tokens: TokenBook<LiveAttempt>;
  sandbox: SandboxTrial;
  telemetry: Telemetry;
  version: string;
}

/** A context once there is a runtime to start attempts on. */
export interface RunningContext extends Context {
  runtime: Runtime;
  /** Where recorders reach the attempt door. */
  doorSocket: string;
}

/** Whose model calls they are, with the rows they are booked on. */
export interface AttemptCaller extends Caller {
  runNo: number;
  runId: string;
  variation: number;
  attempt: number;
  attemptNo: number;
}

/** An attempt under way, in memory; its truth is in the store. */
export interface LiveAttempt extends AttemptCaller {
  tokenSha256: string;
  /** Whether the agent was heard of. */
  speaking: boolean;
  /** The payload of its `result` envelope, once it came. */
  result: string | null;
  /** Aborted when it is to stop or has ended: its model calls under way are cut, and no more are made. */
  stopped: AbortController;
  /** Model calls that are being booked on it. */
  bookings: Set<Promise<void>>;
  /** What was told of its refused model calls, so that it is told once. */
  noted: Set<string>;
  /** Its variation's own limit. */
  timeoutSeconds: number;
  /** Takes secrets out of what it says; made when it says something. */
  cleaner?: Cleaner;
  /** Milliseconds since the epoch at which the server itself stops it: a recorder that lives enforces the limit earlier. */
  deadline: number;
}
