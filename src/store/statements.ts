import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import type { Compilable } from 'kysely';
import { explainFailure } from './failures.ts';

/** Lists in SQL (`in (?, ?)`) make a statement per length, so the cache has to end somewhere. */
const CACHED = 512;

export interface Prepared {
  readonly statement: StatementSync;
  /** Whether it gives rows. */
  readonly reader: boolean;
}

/** Prepares each SQL text once. All errors that come out of here are explained. */
export class Statements {
  readonly db: DatabaseSync;
  readonly path: string;
  readonly #cache = new Map<string, Prepared>();

  constructor(db: DatabaseSync, path: string) {
    this.db = db;
    this.path = path;
  }

  get(sql: string): Prepared {
    const cached = this.#cache.get(sql);
    if (cached !== undefined) {
      // Least recently used first: a Map keeps the order of insertion.
      this.#cache.delete(sql);
      this.#cache.set(sql, cached);
      return cached;
    }
    const statement = this.#explained(() => this.db.prepare(sql));
    const prepared = { statement, reader: statement.columns().length > 0 };
    this.#cache.set(sql, prepared);
    if (this.#cache.size > CACHED) {
      const [oldest] = this.#cache.keys();
      if (oldest !== undefined) this.#cache.delete(oldest);
    }
    return prepared;
  }

  all<Row>({ statement }: Prepared, parameters: readonly unknown[]): Row[] {
    return this.#explained(() => statement.all(...(parameters as SQLInputValue[])) as Row[]);
  }

  run({ statement }: Prepared, parameters: readonly unknown[]): { changes: number; lastInsertRowid: number } {
    const { changes, lastInsertRowid } = this.#explained(() => statement.run(...(parameters as SQLInputValue[])));
    return { changes: Number(changes), lastInsertRowid: Number(lastInsertRowid) };
  }

  query<Row>(query: Compilable<Row>): Row[] {
    const { sql, parameters } = query.compile();
    return this.all<Row>(this.get(sql), parameters);
  }

  #explained<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw explainFailure(error, this.path);
    }
  }
}
