import type { StatementSync } from 'node:sqlite';
import { AppError } from '../errors.ts';
import type { EventIds } from './event-ids.ts';
import { EventLog } from './event-log.ts';
import { explainFailure, shuttingDown } from './failures.ts';
import type { Statements } from './statements.ts';
import type { CommittedFrames, NewEvent, Tx, WriteJob } from './store.ts';

/** What one transaction takes at most, so that the event loop goes round at least every few milliseconds. */
const GROUP_EVENTS = 4096;
const GROUP_CHARACTERS = 4 * 1024 * 1024;
/** A `within` is counted as so many events. */
const WITHIN_WEIGHT = 16;
/** Ids set aside for what a `within` may emit; more than that is a fault of ours. */
const MAX_EMITTED = 1024;

type Listener = (committed: readonly CommittedFrames[]) => void;
type Settle = () => void;

interface Waiting {
  readonly events: readonly NewEvent[];
  /** Runs the job's `within` and gives what settles its promise; undefined where it has none. */
  readonly within: ((tx: Tx, emit: (event: NewEvent) => void) => Settle) | undefined;
  readonly resolve: Settle;
  readonly reject: (error: unknown) => void;
}

/**
 * The only writer: all jobs that wait are committed together, once per turn of the event loop.
 *
 * There is no timer: with little to do it would only add delay, and with much to do the next jobs gather by themselves while a
 * commit runs. The transaction is synchronous, so nothing else can ever see or join it.
 */
export class Writer {
  readonly #statements: Statements;
  readonly #ids: EventIds;
  readonly #log: EventLog;
  readonly #onCommitted: (pages: number) => void;
  readonly #report: (error: unknown) => void;
  readonly #tx: Tx;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #savepoint: StatementSync;
  readonly #release: StatementSync;
  readonly #rollbackTo: StatementSync;
  readonly #listeners = new Set<Listener>();
  #queue: Waiting[] = [];
  #turn: NodeJS.Immediate | undefined;
  #closed = false;
  #inWithin = false;

  /**
   * @param hooks.onCommitted told after each commit how many pages it wrote, roughly.
   * @param hooks.report told what a listener threw.
   */
  constructor(
    statements: Statements,
    ids: EventIds,
    hooks: { onCommitted: (pages: number) => void; report: (error: unknown) => void },
  ) {
    this.#statements = statements;
    this.#ids = ids;
    this.#log = new EventLog(statements, ids);
    this.#onCommitted = hooks.onCommitted;
    this.#report = hooks.report;
    const { db } = statements;
    this.#begin = db.prepare('BEGIN IMMEDIATE');
    this.#commit = db.prepare('COMMIT');
    this.#savepoint = db.prepare('SAVEPOINT job');
    this.#release = db.prepare('RELEASE job');
    this.#rollbackTo = db.prepare('ROLLBACK TO job');
    this.#tx = {
      run: (query) => {
        this.#assertWithin();
        const { sql, parameters } = query.compile();
        return statements.run(statements.get(sql), parameters);
      },
      all: (query) => {
        this.#assertWithin();
        return statements.query(query);
      },
    };
  }

  write<T>(job: WriteJob<T>): Promise<T> {
    if (this.#closed) return Promise.reject(shuttingDown());
    const { events = [], within } = job;
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({
        events,
        within:
          within === undefined
            ? undefined
            : (tx, emit) => {
                const value = within(tx, emit);
                refusePromise(value);
                return () => resolve(value);
              },
        resolve: () => resolve(undefined as T),
        reject,
      });
      this.#turn ??= setImmediate(() => this.#flush());
    });
  }

  onCommit(listener: Listener): () => void {
    // Wrapped, so that a function that is given twice is called twice, and stopped one by one.
    const own: Listener = (committed) => listener(committed);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Takes no more jobs and commits those that wait. */
  close(): void {
    this.#closed = true;
    if (this.#turn !== undefined) clearImmediate(this.#turn);
    while (this.#queue.length > 0) this.#flush();
  }

  #flush(): void {
    this.#turn = undefined;
    const group = this.#queue.splice(0, groupSize(this.#queue));
    const settled = this.#commitGroup(group);
    const committed = this.#log.take();
    if (this.#queue.length > 0 && !this.#closed) this.#turn ??= setImmediate(() => this.#flush());
    for (const settle of settled) settle();
    if (committed.length > 0) this.#publish(committed);
  }

  /** One transaction. Gives what settles each job's promise; whatever fails, none is left waiting. */
  #commitGroup(group: readonly Waiting[]): Settle[] {
    const { db, path } = this.#statements;
    const before = this.#ids.last;
    let mayBeOnDisk = false;
    try {
      this.#ids.reserve(group.reduce((sum, job) => sum + job.events.length + (job.within ? MAX_EMITTED : 0), 0));
      this.#begin.run();
      const settled = group.map((job) => this.#apply(job));
      mayBeOnDisk = true;
      this.#commit.run();
      this.#onCommitted(pagesOf(group));
      return settled;
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      // After a COMMIT that failed nobody can say what a crash would find: its ids are not given again.
      if (!mayBeOnDisk) this.#ids.takeBack(before);
      this.#log.forgetSince(0);
      const explained = explainFailure(error, path);
      return group.map((job) => () => job.reject(explained));
    }
  }

  /** One job of the transaction. Throws only if the whole transaction is lost. */
  #apply(job: Waiting): Settle {
    const { db, path } = this.#statements;
    const length = this.#log.length;
    const before = this.#ids.last;
    const { within } = job;
    try {
      if (within === undefined) {
        this.#log.append(job.events);
        return job.resolve;
      }
      this.#savepoint.run();
      const emitted: NewEvent[] = [];
      const settle = this.#runWithin(() => within(this.#tx, (event) => void emitted.push(event)));
      if (emitted.length > MAX_EMITTED)
        throw new AppError('internal', `A write emitted ${emitted.length} events; it may emit ${MAX_EMITTED}.`);
      this.#log.append(job.events);
      this.#log.append(emitted);
      this.#release.run();
      return settle;
    } catch (error) {
      // Some failures (a full disk) take the whole transaction back. Nothing may be written outside of one.
      if (!db.isTransaction) throw error;
      if (within === undefined) this.#log.removeSince(length);
      else {
        this.#rollbackTo.run();
        this.#release.run();
        this.#log.forgetSince(length);
      }
      this.#ids.takeBack(before);
      const explained = explainFailure(error, path);
      return () => job.reject(explained);
    }
  }

  #runWithin<T>(within: () => T): T {
    this.#inWithin = true;
    try {
      const result = within();
      // It may have caught the error that took the transaction back.
      this.#assertWithin();
      return result;
    } finally {
      this.#inWithin = false;
    }
  }

  #assertWithin(): void {
    if (this.#inWithin && this.#statements.db.isTransaction) return;
    throw new AppError('internal', 'A write used its transaction after it had ended.');
  }

  #publish(committed: readonly CommittedFrames[]): void {
    for (const listener of this.#listeners) {
      try {
        listener(committed);
      } catch (error) {
        this.#report(error);
      }
    }
  }
}

/** How many jobs go into the next transaction: at least one. */
function groupSize(queue: readonly Waiting[]): number {
  let weight = 0;
  let characters = 0;
  let size = 0;
  for (const { events, within } of queue) {
    weight += events.length + (within === undefined ? 0 : WITHIN_WEIGHT);
    for (const { data } of events) characters += data.length;
    if (size > 0 && (weight > GROUP_EVENTS || characters > GROUP_CHARACTERS)) break;
    size += 1;
  }
  return size;
}

/** Roughly how many pages of the WAL a group took: enough to know when a checkpoint is due. */
function pagesOf(group: readonly Waiting[]): number {
  let bytes = 0;
  let pages = 2;
  for (const { events, within } of group) {
    for (const { data } of events) bytes += data.length + 100;
    if (within !== undefined) pages += 3;
  }
  return pages + Math.ceil(bytes / 4096);
}

function refusePromise(value: unknown): void {
  if (value === null || typeof value !== 'object' || !('then' in value) || typeof value.then !== 'function') return;
  // Its outcome is nobody's any more: it must not become an unhandled rejection.
  Promise.resolve(value).catch(() => {});
  throw new AppError(
    'internal',
    'The `within` of a write must be synchronous: what it awaits would come after the commit.',
  );
}
