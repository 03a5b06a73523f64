import type { DatabaseSync } from 'node:sqlite';
import { AppError } from '../errors.ts';

/** How many ids are set aside at a time: one fsync for so many events. */
const BLOCK = 16_384;

/** An event's key is run * RUN_STRIDE + id. */
export const RUN_STRIDE = 2 ** 32;

/**
 * Gives out the ids of events: one store-wide sequence, from memory.
 *
 * A reader that saw id 100 must never find another event behind it that was given 90 later: it would miss it. With
 * `synchronous=NORMAL` the last commits can vanish with the power, although readers saw them. So ids are set aside in blocks,
 * and the block's end (the ceiling) is on the disk before the first of them is used. After a crash the sequence goes on above
 * the ceiling, after an orderly close without a gap.
 */
export class EventIds {
  readonly #db: DatabaseSync;
  readonly #synchronous: string;
  #last: number;
  #ceiling: number;

  /** @param synchronous what the connection works with. */
  constructor(db: DatabaseSync, synchronous: 'normal' | 'full') {
    this.#db = db;
    this.#synchronous = synchronous;
    this.#ceiling = Number(db.prepare('SELECT ceiling FROM event_ids').get()?.['ceiling'] ?? 0);
    this.#last = this.#ceiling;
  }

  /** The last id that was given. */
  get last(): number {
    return this.#last;
  }

  /** Makes sure that so many ids can be given. Not inside a transaction. */
  reserve(count: number): void {
    if (this.#last + count <= this.#ceiling) return;
    const ceiling = this.#last + count + BLOCK;
    if (ceiling >= RUN_STRIDE) throw new AppError('internal', 'The event log has given out all of its 4294967295 ids.');
    this.#db.exec('PRAGMA synchronous = FULL');
    try {
      this.#store(ceiling);
    } finally {
      this.#db.exec(`PRAGMA synchronous = ${this.#synchronous}`);
    }
    this.#ceiling = ceiling;
  }

  /** The next id. Only as many as were reserved. */
  next(): number {
    if (this.#last >= this.#ceiling) throw new AppError('internal', 'One write gave more events than it may.');
    this.#last += 1;
    return this.#last;
  }

  /** Takes back what was given since `last` was the last one: only if nobody can have seen it, not even the disk. */
  takeBack(last: number): void {
    this.#last = last;
  }

  /** On an orderly close: nothing above the last id was used, so the next start goes on right behind it. */
  settle(): void {
    this.#store(this.#last);
    this.#ceiling = this.#last;
  }

  #store(ceiling: number): void {
    this.#db.prepare('UPDATE event_ids SET ceiling = ?').run(ceiling);
  }
}
