import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { AppError } from '../../errors.ts';
import { plainLine } from '../display.ts';
import type { Session } from '../session.ts';

/** Milliseconds that a writer may hold up the copy. */
const BUSY = 30_000;

/**
 * `aideator backup`: a copy of the data directory, while its server runs or not. What comes of it is a data directory: a server is
 * started on it as it is. It holds runs, events, choices and keys (hashed), patches and mirrors; not the journals and work trees of
 * attempts, whose events are in the database.
 *
 * The order makes it whole: the database first (one moment of it, by SQLite), then files, which are there before a row names them.
 */
export async function backup(session: Session, [folder = '']: string[]): Promise<number> {
  const { data_dir: from } = session.config;
  const to = resolve(session.io.cwd, folder);
  const database = join(from, 'aideator.sqlite');
  if (!existsSync(database))
    throw new AppError('not_found', `${from} has no database.`, {
      hint: 'It is made where the server has its data: name that folder with --data-dir. In a cluster that is the pod of the server: docs/kubernetes.md.',
    });
  if (existsSync(to))
    throw new AppError('invalid_request', `${to} is there already.`, { hint: 'Name a folder that is to be made.' });
  const part = `${to}.part`;
  try {
    rmSync(part, { recursive: true, force: true });
    mkdirSync(dirname(part), { recursive: true });
    mkdirSync(part, { mode: 0o700 });
    copyDatabase(database, join(part, 'aideator.sqlite'));
    copyFiles(from, part);
    renameSync(part, to);
  } catch (error) {
    rmSync(part, { recursive: true, force: true });
    throw failed(to, error);
  }
  if (session.json) session.printJson({ backup: to, data_dir: from });
  else
    session.print(
      `${plainLine(to)} is a copy of ${plainLine(from)}.`,
      `To go on from it: aideator serve --data-dir ${plainLine(to)}`,
    );
  return 0;
}

function copyDatabase(from: string, to: string): void {
  using database = new DatabaseSync(from, { readOnly: true, timeout: BUSY });
  database.prepare('VACUUM INTO ?').run(to);
}

function copyFiles(from: string, to: string): void {
  const patches = join(from, 'patches');
  if (existsSync(patches))
    cpSync(patches, join(to, 'patches'), { recursive: true, filter: (path) => !path.endsWith('.part') });
  const mirrors = join(from, 'mirrors');
  if (!existsSync(mirrors)) return;
  for (const name of readdirSync(mirrors)) {
    const [mirror, copy] = [join(mirrors, name), join(to, 'mirrors', name)];
    const objects = join(mirror, 'objects');
    // Refs before objects: a fetch under way adds objects first, so that no ref of the copy points at nothing.
    cpSync(mirror, copy, { recursive: true, filter: (path) => path !== objects && !path.endsWith('.lock') });
    if (existsSync(objects)) cpSync(objects, join(copy, 'objects'), { recursive: true });
  }
}

function failed(to: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  const why = error instanceof Error ? error.message : String(error);
  const full = /ENOSPC|EDQUOT|database or disk is full/.test(why);
  return new AppError(full ? 'disk_full' : 'data_dir_readonly', `The backup could not be written to ${to}: ${why}`, {
    hint: full ? 'Free some space, or name a folder on another disk.' : 'Name a folder that you may write to.',
    cause: error,
  });
}
