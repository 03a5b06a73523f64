import type { Compilable, Kysely } from 'kysely';
import type { EventType } from '../contract/event.ts';
import type { Schema } from './schema.ts';

/** The seam of the store. `openStore` (database.ts) makes the one for SQLite. */

/** An event before it has its id. */
export interface NewEvent {
  run: number;
  /** The variation's index; null for an event of the whole run. */
  variation: number | null;
  /** The attempt's row number and the seq, for events of a recorder. */
  attempt: number | null;
  seq: number | null;
  span: number;
  type: EventType;
  /** JSON text of one line: what stands behind `data: ` in the frame. */
  data: string;
}

/** A synchronous look at the database inside a write's transaction. */
export interface Tx {
  run(query: Compilable): { changes: number; lastInsertRowid: number };
  all<Row>(query: Compilable<Row>): Row[];
}

export interface WriteJob<T> {
  /** Appended in order. One whose (attempt, seq) is stored already is skipped: both paths of delivery are idempotent. */
  events?: readonly NewEvent[];
  /**
   * Runs once, synchronously, in the same transaction, before the events are appended; may add more events through `emit`: they
   * come after `events`. If it throws, this job alone is rolled back and rejected: the others of the same commit stay.
   */
  within?: (tx: Tx, emit: (event: NewEvent) => void) => T;
}

/** What one commit appended to one run: the frames as one buffer, ready to be sent to every reader of the run. */
export interface CommittedFrames {
  run: number;
  firstId: number;
  lastId: number;
  frames: Buffer;
  count: number;
  /** The variations in it; null stands for the run's own events. */
  variations: ReadonlySet<number | null>;
  /** The frames of one variation only, with the run's own events between them (made on demand, kept for the batch). */
  of(variation: number): Buffer;
}

export interface FramePage {
  frames: Buffer;
  /** 0 only where nothing is stored after the cursor. */
  count: number;
  /** The id of its last event; `after` where there is none. */
  lastId: number;
}

/** One event as it was stored; `data` is the JSON text. */
export interface EventRow {
  id: number;
  type: EventType;
  data: string;
}

export interface Store {
  /** For reading, and single statements that need no company. What must stand or fall together goes through `write`. */
  readonly db: Kysely<Schema>;
  readonly path: string;
  /** Reads what is committed, at once: for callers that must not lose their turn between looking and acting. */
  query<Row>(query: Compilable<Row>): Row[];
  /**
   * Joins the next commit (one per turn of the event loop, for all jobs that wait). Resolves after the commit.
   * Errors: disk_full (nothing of the job is stored; the store goes on when there is space), shutting_down, what `within` threw.
   */
  write<T = void>(job: WriteJob<T>): Promise<T>;
  /** The frames of a run after an id, oldest first; with `variation` only its events and the run's own. */
  readFrames(run: number, options: { after: number; limit: number; variation?: number }): FramePage;
  /** Events of a run after an id as objects, oldest first; filtered like `readFrames`. */
  readRows(run: number, options: { after: number; limit: number; variation?: number }): EventRow[];
  /** First and last event id of a run; null where it has none. */
  range(run: number): { first: number; last: number } | null;
  /**
   * No larger id was ever given to an event: a cursor above it is none of ours. After a crash it is larger than the last stored
   * id, because ids that readers may have seen are not given again.
   */
  lastId(): number;
  /** Removes a run with all that belongs to it: its events in portions, then the rest in one commit. Repeatable after a crash. */
  deleteRun(run: number): Promise<void>;
  /** Called after each commit with what each run got. Returns the way to stop it. */
  onCommit(listener: (committed: readonly CommittedFrames[]) => void): () => void;
  /** Commits what waits, checkpoints and closes. */
  close(): Promise<void>;
}
