import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Kysely } from 'kysely';
import { AppError } from '../errors.ts';
import { Checkpoints } from './checkpoints.ts';
import { deleteRun } from './deletion.ts';
import { createDialect } from './dialect.ts';
import { EventIds } from './event-ids.ts';
import { dataDirReadonly, explainFailure } from './failures.ts';
import { Frames } from './frames.ts';
import { BUSY_TIMEOUT_MS, inspect } from './inspection.ts';
import { migrate, MIGRATIONS, newestVersion } from './migrations.ts';
import type { Schema } from './schema.ts';
import { Statements } from './statements.ts';
import type { Store } from './store.ts';
import { Writer } from './writer.ts';

export interface StoreOptions {
  /**
   * What a commit survives: `normal` (the default) the death of the process, `full` also a power cut, for 20 to 25 % of the
   * speed. With `normal` a power cut may take the last commits, but never damages the database.
   */
  synchronous?: 'normal' | 'full' | undefined;
  /** Told of what fails behind everybody's back: a listener that threw, the checkpoint thread. Default: a process warning. */
  report?: ((error: unknown) => void) | undefined;
}

/**
 * Opens the database, makes it where there is none, and brings it to this program's version.
 *
 * Errors: database_corrupt, database_newer (both: nothing was changed), data_dir_readonly, data_dir_locked, disk_full.
 */
export function openStore(path: string, options: StoreOptions = {}): Store {
  const { synchronous = 'normal', report = warn } = options;
  const file = resolve(path);
  makeFolder(file);
  inspect(file, newestVersion(MIGRATIONS));
  const db = connect(file, synchronous);
  try {
    return createStore(new Statements(db, file), new EventIds(db, synchronous), report);
  } catch (error) {
    db.close();
    throw explainFailure(error, file);
  }
}

function createStore(statements: Statements, ids: EventIds, report: (error: unknown) => void): Store {
  const { db, path } = statements;
  const checkpoints = new Checkpoints(statements, report);
  const onCommitted = (pages: number) => checkpoints.wrote(pages);
  const writer = new Writer(statements, ids, { onCommitted, report });
  const frames = new Frames(statements);
  const kysely = new Kysely<Schema>({ dialect: createDialect(statements, () => onCommitted(3)) });
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    writer.close();
    await checkpoints.stop();
    try {
      ids.settle();
      db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    } catch (error) {
      // Everything committed stands in the WAL, and the next start reads it there.
      report(explainFailure(error, path));
    }
    db.close();
  }

  const store: Store = {
    db: kysely,
    path,
    query: (query) => statements.query(query),
    write: (job) => writer.write(job),
    readFrames: (run, selection) => frames.page(run, selection),
    readRows: (run, selection) => frames.rows(run, selection),
    range: (run) => frames.range(run),
    lastId: () => ids.last,
    deleteRun: (run) => deleteRun(store, run),
    onCommit: (listener) => writer.onCommit(listener),
    close: () => (closing ??= close()),
  };
  return store;
}

function connect(path: string, synchronous: 'normal' | 'full'): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: true, defensive: true });
    // What may only be read shows itself now, not at the first event. BEGIN alone would not: it falls back to reading.
    db.exec('BEGIN IMMEDIATE; PRAGMA user_version = 0; ROLLBACK');
    // Checkpoints are ours (checkpoints.ts). No mmap: it is hardly faster here, and a disk error would be a SIGBUS, not an error.
    db.exec(`
      PRAGMA synchronous = ${synchronous};
      PRAGMA wal_autocheckpoint = 0;
      PRAGMA journal_size_limit = ${64 * 1024 * 1024};
      PRAGMA cache_size = -16384;
      PRAGMA temp_store = MEMORY;
    `);
    const mode = db.prepare('PRAGMA journal_mode = WAL').get()?.['journal_mode'];
    if (mode !== 'wal') {
      throw new AppError(
        'invalid_config',
        `The file system of ${path} cannot hold the database (it has no shared memory).`,
        {
          hint: 'Use a data directory on a local disk.',
        },
      );
    }
    migrate(db);
    return db;
  } catch (error) {
    db?.close();
    throw explainFailure(error, path);
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (error) {
    throw dataDirReadonly(path, error);
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error));
}
