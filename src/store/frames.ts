import type { StatementSync } from 'node:sqlite';
import { parseFrame } from '../contract/event.ts';
import { RUN_STRIDE } from './event-ids.ts';
import { explainFailure } from './failures.ts';
import { LARGE_FRAME_BYTES } from './migrations.ts';
import type { Statements } from './statements.ts';
import type { EventRow, FramePage } from './store.ts';

interface Selection {
  /** Keys between these, both exclusive. */
  from: number;
  to: number;
  limit: number;
  variation: number | undefined;
}

/**
 * Reads the log. A page of frames is put together inside SQLite, without any work per row here: 100 000 events in pages of 500
 * take about 70 ms, parsing and writing each of them takes five times that.
 */
/** Rows are taken apart one by one: more of them than this at once would hold up everybody. The first is given in any case. */
const MOST_ROW_BYTES = 2 * 1024 * 1024;

export class Frames {
  readonly #path: string;
  readonly #page: StatementSync;
  readonly #pageOf: StatementSync;
  readonly #rows: StatementSync;
  readonly #rowsOf: StatementSync;
  readonly #large: StatementSync;
  readonly #range: StatementSync;

  constructor({ db, path }: Statements) {
    // The LIMIT inside keeps the order: with it SQLite neither flattens the subquery nor drops its ORDER BY. An ORDER BY
    // within group_concat would say the same and cost a sort of all frames.
    const within = (filter: string) => `FROM events WHERE key > ? AND key < ?${filter} ORDER BY key LIMIT ?`;
    const page = (filter: string) =>
      db.prepare(
        `SELECT CAST(group_concat(frame, '') AS BLOB) AS frames, count(*) AS count, max(key) AS last
         FROM (SELECT key, frame ${within(filter)})`,
      );
    const filter = ' AND (variation = ? OR variation IS NULL)';
    this.#path = path;
    this.#page = page('');
    this.#pageOf = page(filter);
    this.#rows = db.prepare(`SELECT frame ${within('')}`);
    this.#rowsOf = db.prepare(`SELECT frame ${within(filter)}`);
    this.#large = db.prepare(
      `SELECT key FROM events INDEXED BY events_large
       WHERE octet_length(frame) > ${LARGE_FRAME_BYTES} AND key > ? AND key < ? ORDER BY key LIMIT 1`,
    );
    this.#range = db.prepare(
      `SELECT (SELECT min(key) FROM events WHERE key > :from AND key < :to) AS first,
              (SELECT max(key) FROM events WHERE key > :from AND key < :to) AS last`,
    );
  }

  /** A page ends before a large frame, and a large frame is a page of its own: see `LARGE_FRAME_BYTES`. */
  page(run: number, options: { after: number; limit: number; variation?: number }): FramePage {
    return this.#explained(() => {
      const { limit, variation } = options;
      const to = (run + 1) * RUN_STRIDE;
      let from = run * RUN_STRIDE + options.after;
      for (;;) {
        const large = this.#large.get(from, to)?.['key'] as number | undefined;
        const before = this.#concat({ from, to: large ?? to, limit, variation });
        if (before !== null) return before;
        if (large === undefined) return { frames: Buffer.alloc(0), count: 0, lastId: options.after };
        const itself = this.#concat({ from: large - 1, to: large + 1, limit: 1, variation });
        if (itself !== null) return itself;
        from = large;
      }
    });
  }

  rows(run: number, options: { after: number; limit: number; variation?: number }): EventRow[] {
    return this.#explained(() => {
      const { after, limit, variation } = options;
      const from = run * RUN_STRIDE + Math.max(after, 0);
      const to = (run + 1) * RUN_STRIDE;
      const found =
        variation === undefined
          ? this.#rows.iterate(from, to, limit)
          : this.#rowsOf.iterate(from, to, variation, limit);
      const rows: EventRow[] = [];
      let bytes = 0;
      for (const row of found) {
        const frame = row['frame'] as string;
        bytes += frame.length;
        if (rows.length > 0 && bytes > MOST_ROW_BYTES) break;
        rows.push(parseFrame(frame));
      }
      return rows;
    });
  }

  range(run: number): { first: number; last: number } | null {
    return this.#explained(() => {
      const row = this.#range.get({ from: run * RUN_STRIDE, to: (run + 1) * RUN_STRIDE });
      const first = row?.['first'] as number | null | undefined;
      const last = row?.['last'] as number | null | undefined;
      return first == null || last == null ? null : { first: first % RUN_STRIDE, last: last % RUN_STRIDE };
    });
  }

  #concat({ from, to, limit, variation }: Selection): FramePage | null {
    const row =
      variation === undefined ? this.#page.get(from, to, limit) : this.#pageOf.get(from, to, variation, limit);
    const frames = row?.['frames'] as Uint8Array | null | undefined;
    if (frames == null) return null;
    return {
      frames: Buffer.from(frames.buffer, frames.byteOffset, frames.byteLength),
      count: row?.['count'] as number,
      lastId: (row?.['last'] as number) % RUN_STRIDE,
    };
  }

  #explained<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw explainFailure(error, this.#path);
    }
  }
}
