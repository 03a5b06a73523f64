import type { SQLInputValue, StatementSync } from 'node:sqlite';
import { frameOf } from '../contract/event.ts';
import { Committed } from './committed.ts';
import { RUN_STRIDE, type EventIds } from './event-ids.ts';
import type { Statements } from './statements.ts';
import type { NewEvent } from './store.ts';

/** Rows of the wide insert: it saves a tenth of the time per row, and more rows save no more. */
const WIDE = 32;
const COLUMNS = 7;

/** Appends events inside the writer's transaction and remembers what was new, to be published after the commit. */
export class EventLog {
  readonly #ids: EventIds;
  readonly #insert: StatementSync;
  readonly #insertWide: StatementSync;
  readonly #stored: StatementSync;
  readonly #remove: StatementSync;
  readonly #row: SQLInputValue[] = Array.from({ length: WIDE * COLUMNS }, () => null);
  #keys: number[] = [];
  #events: NewEvent[] = [];
  #frames: string[] = [];

  constructor({ db }: Statements, ids: EventIds) {
    this.#ids = ids;
    // The conflict is named: a key that exists already is a fault of ours and must not be taken for a second delivery.
    const insert = (rows: number) =>
      db.prepare(
        `INSERT INTO events (key, attempt, seq, span, variation, type, frame)
         VALUES ${Array.from({ length: rows }, () => '(?, ?, ?, ?, ?, ?, ?)').join(', ')}
         ON CONFLICT (attempt, seq) WHERE attempt IS NOT NULL DO NOTHING`,
      );
    this.#insert = insert(1);
    this.#insertWide = insert(WIDE);
    this.#stored = db.prepare('SELECT 1 FROM events WHERE key = ?');
    this.#remove = db.prepare('DELETE FROM events WHERE key = ?');
  }

  /** How many are appended since the last `take`: a place to go back to. */
  get length(): number {
    return this.#keys.length;
  }

  append(events: readonly NewEvent[]): void {
    let at = 0;
    for (; at + WIDE <= events.length; at += WIDE) this.#appendWide(events, at);
    for (; at < events.length; at += 1) {
      const event = events[at] as NewEvent;
      const before = this.#ids.last;
      const frame = this.#fill(0, event);
      const row = this.#row;
      const { changes } = this.#insert.run(...row.slice(0, COLUMNS));
      if (changes === 0) this.#ids.takeBack(before);
      else this.#remember(row[0] as number, event, frame);
    }
  }

  #appendWide(events: readonly NewEvent[], start: number): void {
    const frames: string[] = [];
    for (let at = 0; at < WIDE; at += 1) frames.push(this.#fill(at * COLUMNS, events[start + at] as NewEvent));
    const { changes } = this.#insertWide.run(...this.#row);
    for (let at = 0; at < WIDE; at += 1) {
      const key = this.#row[at * COLUMNS] as number;
      // Some were known: the ids that were meant for those stay unused.
      if (changes !== WIDE && this.#stored.get(key) === undefined) continue;
      this.#remember(key, events[start + at] as NewEvent, frames[at] as string);
    }
  }

  /** Writes an event's columns into the row buffer and gives its frame. */
  #fill(offset: number, event: NewEvent): string {
    const id = this.#ids.next();
    const frame = frameOf(id, event.type, event.data);
    const row = this.#row;
    row[offset] = event.run * RUN_STRIDE + id;
    row[offset + 1] = event.attempt;
    row[offset + 2] = event.seq;
    row[offset + 3] = event.span;
    row[offset + 4] = event.variation;
    row[offset + 5] = event.type;
    row[offset + 6] = frame;
    return frame;
  }

  #remember(key: number, event: NewEvent, frame: string): void {
    this.#keys.push(key);
    this.#events.push(event);
    this.#frames.push(frame);
  }

  /** Forgets what was appended since `length`, and deletes its rows: for a job that has no savepoint to go back to. */
  removeSince(length: number): void {
    for (let at = length; at < this.#keys.length; at += 1) this.#remove.run(this.#keys[at] as number);
    this.forgetSince(length);
  }

  /** Forgets what was appended since `length`, where the rows are gone already. */
  forgetSince(length: number): void {
    this.#keys.length = length;
    this.#events.length = length;
    this.#frames.length = length;
  }

  /** Everything appended since the last time, by run in order of first appearance. */
  take(): Committed[] {
    const byRun = new Map<number, Committed>();
    for (let at = 0; at < this.#keys.length; at += 1) {
      const { run, variation } = this.#events[at] as NewEvent;
      const id = (this.#keys[at] as number) % RUN_STRIDE;
      let committed = byRun.get(run);
      if (committed === undefined) {
        committed = new Committed(run, id);
        byRun.set(run, committed);
      }
      committed.add(id, variation, this.#frames[at] as string);
    }
    this.forgetSince(0);
    return [...byRun.values()];
  }
}
