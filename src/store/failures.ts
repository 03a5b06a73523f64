import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { AppError } from '../errors.ts';

/** SQLite's primary result codes (sqlite.org/rescode.html) that have something to say to a person. */
const PERM = 3;
const BUSY = 5;
const LOCKED = 6;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const NOTADB = 26;

/** Below this many free bytes an I/O error is taken for what it is on a full disk: SQLite reports some of those as IOERR. */
const NO_SPACE_BYTES = 256 * 1024;

/** What SQLite said, as the error a person can act on; everything else (a constraint, a fault of ours) comes back as it was. */
export function explainFailure(error: unknown, path: string): unknown {
  if (error instanceof AppError || !(error instanceof Error)) return error;
  if (isClosed(error)) return shuttingDown();
  const code = resultCode(error);
  if (code === undefined) return error;
  switch (code) {
    case FULL:
      return diskFull(path, error);
    case IOERR:
      return hasNoSpace(path) ? diskFull(path, error) : error;
    case CORRUPT:
    case NOTADB:
      return databaseCorrupt(path, error.message, error);
    case PERM:
    case READONLY:
    case CANTOPEN:
      return dataDirReadonly(path, error);
    case BUSY:
    case LOCKED:
      return new AppError('data_dir_locked', `Another process holds the database ${path}.`, {
        hint: 'Stop the other server or tool that has it open, or use another data directory.',
        cause: error,
      });
    default:
      return error;
  }
}

export function databaseCorrupt(path: string, found: string, cause?: unknown): AppError {
  return new AppError('database_corrupt', `The database ${path} is damaged (${found}). Nothing was changed.`, {
    hint: `Restore ${path} from a backup, or move it away together with ${path}-wal and ${path}-shm: the next start makes a new one.`,
    cause,
  });
}

/** Also for what is no failure of SQLite's: a folder that cannot be made, a path that is a folder. */
export function dataDirReadonly(path: string, cause: unknown): AppError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new AppError('data_dir_readonly', `The database ${path} cannot be written (${reason}).`, {
    hint: `Make ${dirname(path)} a folder that this user may write to, or use another data directory.`,
    cause,
  });
}

export function shuttingDown(): AppError {
  return new AppError('shutting_down', 'The store is closed: the server is shutting down.', {
    hint: 'Try again when the server is back.',
  });
}

function diskFull(path: string, cause: Error): AppError {
  return new AppError(
    'disk_full',
    `There is no space left for the database ${path}. The last write is not stored; everything before it is.`,
    {
      hint: `Free space on the volume of ${dirname(path)}: the store goes on by itself once there is some.`,
      cause,
    },
  );
}

function hasNoSpace(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize < NO_SPACE_BYTES;
  } catch {
    return false;
  }
}

/** The primary result code of an error of node:sqlite; undefined for all others. */
function resultCode(error: Error): number | undefined {
  return 'errcode' in error && typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}

/** What a closed database, and the statements that closed with it, answer. */
function isClosed(error: Error): boolean {
  return 'code' in error && error.code === 'ERR_INVALID_STATE';
}
