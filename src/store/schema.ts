import type { Generated } from 'kysely';
import type { Dialect } from '../contract/dialect.ts';
import type { AttemptStatus, EndReason, VariationStatus } from '../contract/run.ts';

/** The tables as Kysely types. JSON columns hold text. Times are UTC ISO text with milliseconds. `no` columns are rowids. */
export interface Schema {
  runs: RunsTable;
  variations: VariationsTable;
  attempts: AttemptsTable;
  events: EventsTable;
  results: ResultsTable;
  model_calls: ModelCallsTable;
  choices: ChoicesTable;
  shipments: ShipmentsTable;
  api_keys: ApiKeysTable;
  idempotency: IdempotencyTable;
  house: HouseTable;
  budget_days: BudgetDaysTable;
  prompts: PromptsTable;
}

/** What all model calls of a UTC day count with, those under way with all that was set aside for them. */
export interface BudgetDaysTable {
  /** YYYY-MM-DD */
  day: string;
  microdollars: number;
  tokens: number;
}

/** One row: what is true of the whole database. */
export interface HouseTable {
  only: 1;
  /** A random name that no other database has. */
  instance: string;
}

export interface RunsTable {
  /** At most 2^21-1, because an event's key is no * 2^32 + id. Never reused (AUTOINCREMENT). */
  no: Generated<number>;
  id: string;
  repository: string;
  /** The mirror's folder name. */
  mirror: string;
  ref: string | null;
  base: string;
  prompt: string;
  max_parallel: number;
  retries: number;
  /** JSON: Limits. */
  limits: string;
  status: string;
  created_at: string;
  ended_at: string | null;
  /** When its time is up; null once it was reopened by a retry: that one is bounded by its variation's own limit. */
  deadline_at: string | null;
  /** When somebody cancelled it; null = nobody did. */
  cancelled_at: string | null;
  /** When it was asked to be forgotten (deleted once everything stopped). */
  forget_at: string | null;
  /** Of the agents' containers, in a cluster; null = the configured one. */
  image: string | null;
  /** 1: its agents run with the rights of the user who runs the server, because whoever submitted it, or the configuration, said so. */
  unsandboxed: Generated<0 | 1>;
  /** JSON: Budget; null = no limit. */
  budget: string | null;
}

export interface VariationsTable {
  run: number;
  idx: number;
  agent: string;
  model: string;
  strategy: string | null;
  /** The strategy's text at submission. */
  instruction: string | null;
  dialect: Dialect;
  /** JSON: Limits. */
  limits: string;
  /** JSON: Budget, over all its attempts; null = no limit of its own. */
  budget: string | null;
  status: VariationStatus;
  end_reason: EndReason | null;
  message: string | null;
  queued_at: string;
  started_at: string | null;
  ended_at: string | null;
  /** Set when somebody asked for its end: the reason it will have. */
  stop_reason: EndReason | null;
  /** Automatic retries left. */
  retries_left: number;
  /** The row of the attempt whose verified result it has: the last that succeeded, else the last that left one. */
  result_attempt: number | null;
  /** The row of the attempt whose work and conversation its next attempt goes on from; null = from the base, with the run's prompt. */
  start_from: number | null;
  /** The row of another variation's attempt that it was made from. */
  forked_from: number | null;
}

export interface AttemptsTable {
  no: Generated<number>;
  /** The identity: a UUID, or the pod's UID. */
  id: string;
  run: number;
  variation: number;
  /** 0, 1, … within the variation. */
  attempt: number;
  status: AttemptStatus;
  end_reason: EndReason | null;
  message: string | null;
  isolation: string;
  /** SHA-256 (hex) of the attempt's token. */
  token_sha256: string;
  started_at: string;
  ended_at: string | null;
  /** The seq of the last event stored: where its follower goes on. Moves only in the commit that stores what was read. */
  last_seq: number;
  log_complete: number | null;
  /** JSON: Gap[]. */
  gaps: string;
  /** The payload of its `result` envelope, as the recorder said it: not verified yet. */
  stated_result: string | null;
  /** JSON: Eof, once seen. */
  eof: string | null;
  /** JSON: whatever the runtime needs to find it again (pid and start time, or the Job's name). */
  handle: string | null;
  /** 1: what it left in the runtime is not to be removed, because its work could not be saved otherwise. */
  keep: 0 | 1;
  /** JSON: {reason, message, since}, why it has not begun; what stands here means something only while it is `starting`. */
  waiting: string | null;
  /** The row of the attempt that it goes on from; null = from the base, with the run's prompt. */
  continues: number | null;
  /** The number of the prompt that it began with; null = the run's own. */
  prompt: number | null;
}

/** What a variation was told beside the run's prompt, in the order it was said. */
export interface PromptsTable {
  /** Never reused (AUTOINCREMENT): a recorder takes each number once. */
  no: Generated<number>;
  run: number;
  variation: number;
  text: string;
  at: string;
  /**
   * `waiting`: nobody was given it yet. `taken`: by an attempt. `dropped`: its variation ended first; a retry gives it again.
   * `withdrawn`: another one has taken its place for good.
   */
  status: 'waiting' | 'taken' | 'dropped' | 'withdrawn';
  /** The variation's `start_from` when it was said: a retry gives all of that again. */
  origin: number | null;
}

/** The verified result of an attempt. Its patch lies in the data directory under the attempt's id. */
export interface ResultsTable {
  attempt: number;
  tree: string;
  patch_bytes: number;
  files: number;
  additions: number;
  deletions: number;
  /** JSON: AttemptResult. Up to megabytes: read only where its parts are needed. */
  data: string;
}

export interface EventsTable {
  /** run * 2^32 + id: one integer key, in log order within a run. */
  key: number;
  attempt: number | null;
  seq: number | null;
  span: number;
  variation: number | null;
  type: string;
  /** The SSE frame, as it is sent. */
  frame: string;
}

export interface ModelCallsTable {
  no: Generated<number>;
  run: number;
  variation: number;
  attempt: number;
  at: string;
  provider: string;
  model: string;
  dialect: string;
  /** HTTP status; 0 while it is under way. */
  status: number;
  input_tokens: number | null;
  output_tokens: number | null;
  cache_read_tokens: number | null;
  cache_write_tokens: number | null;
  cost_microdollars: number | null;
  duration_ms: number;
  error: string | null;
  /** The most it can use, as it was set aside; money null = no price. */
  reserved_microdollars: number | null;
  reserved_tokens: number | null;
  /** What it counts with in budgets: while it is under way, and where nobody measured it, all that was set aside. */
  charged_microdollars: number;
  charged_tokens: number;
  /** How that is known; null while it is under way. */
  settled: 'measured' | 'assumed' | null;
}

export interface ChoicesTable {
  run: number;
  variation: number;
  /** The row of the attempt that was seen when it was chosen: a retry does not change what ships. */
  attempt: number;
  reason: string | null;
  chosen_at: string;
}

export interface ShipmentsTable {
  no: Generated<number>;
  run: number;
  variation: number;
  kind: 'branch' | 'apply';
  target: string;
  commit_id: string | null;
  at: string;
}

export interface ApiKeysTable {
  id: string;
  name: string;
  scope: 'read' | 'run' | 'admin';
  sha256: string;
  created_at: string;
  last_used_at: string | null;
}

export interface IdempotencyTable {
  /** The caller's key, prefixed with who called. */
  key: string;
  fingerprint: string;
  status: number;
  body: string;
  at: string;
}
