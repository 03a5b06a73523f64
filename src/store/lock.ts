import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { AppError } from '../errors.ts';

/**
 * Takes the data directory for this process. The lock is the operating system's, on a file of SQLite's: it goes with the
 * process however that dies. Errors: data_dir_locked, saying by which server.
 *
 * @returns the way to let it go.
 */
export function lockDataDir(dataDir: string): () => void {
  const database = new DatabaseSync(join(dataDir, 'lock.sqlite'), { timeout: 0 });
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    const holder = holderOf(dataDir);
    throw new AppError(
      'data_dir_locked',
      `${dataDir} is used by another AIdeator server${holder === null ? '' : ` (${holder})`}.`,
      {
        hint: 'Use that one, stop it first, or give this one a folder of its own (--data-dir).',
        cause: error,
      },
    );
  }
  return () => {
    database.exec('ROLLBACK');
    database.close();
  };
}

function holderOf(dataDir: string): string | null {
  try {
    const { url, pid } = JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')) as { url: string; pid: number };
    return `${url}, process ${pid}`;
  } catch {
    return null;
  }
}
