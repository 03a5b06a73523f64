import { statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { databaseCorrupt, dataDirReadonly, explainFailure } from './failures.ts';
import { APPLICATION_ID, refuseNewer, versionOf } from './migrations.ts';

/** How long to wait for another process's lock. The event loop waits with us. */
export const BUSY_TIMEOUT_MS = 2000;

/** Up to this size every page is looked at (about 1.5 ms per MB); a larger file has its tables opened only. */
const FULL_CHECK_BYTES = 16 * 1024 * 1024;

/**
 * Looks at a database file without changing a byte of it, or of the folder around it.
 *
 * @param newest the newest version that this program knows.
 * Errors: database_corrupt, database_newer, data_dir_readonly.
 */
export function inspect(path: string, newest: number): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) throw dataDirReadonly(path, 'it is a folder');
  const size = stats?.size ?? 0;
  const hasWal = (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0;
  if (size === 0 && !hasWal) return;
  // Without a WAL there is nothing beside the file, and `immutable` keeps SQLite from making anything there.
  const url = pathToFileURL(path);
  if (!hasWal) url.searchParams.set('immutable', '1');
  try {
    using db = new DatabaseSync(url, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
    refuseNewer(path, versionOf(db), newest);
    refuseForeign(db, path);
    if (size <= FULL_CHECK_BYTES) {
      const found = Object.values(db.prepare('PRAGMA quick_check(1)').get() ?? {})[0];
      if (found !== 'ok') throw databaseCorrupt(path, String(found));
    } else {
      for (const { name } of db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table'`).all()) {
        db.prepare(`SELECT * FROM "${String(name)}" ORDER BY 1 DESC LIMIT 1`).get();
      }
    }
  } catch (error) {
    throw explainFailure(error, path);
  }
}

function refuseForeign(db: DatabaseSync, path: string): void {
  const applicationId = db.prepare('PRAGMA application_id').get()?.['application_id'];
  if (applicationId === APPLICATION_ID) return;
  const empty = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined;
  if (!empty) throw databaseCorrupt(path, 'it is a SQLite database, but not one of AIdeator’s');
}
