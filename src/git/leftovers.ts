import type { Dirent } from 'node:fs';
import { constants, lstat, open, readdir } from 'node:fs/promises';
import type { AttemptResult } from '../contract/attempt.ts';
import { pathFields, type BytePath } from './changes.ts';
import type { Git, GitOptions } from './command.ts';

/** What stands in a work tree and is in no patch. It is named, so that it is not silently lost. */
export type NotCarried = AttemptResult['not_carried'][number];

/** A repository of our own over a work tree that is not: what every git command on it is told. */
export interface Ground {
  gitDir: string;
  workTree: string;
  indexFile: string;
  cwd: string;
  signal: AbortSignal | undefined;
}

/**
 * Compares the work tree with the index into which all of it was added, and names what did not get there: repositories inside
 * it, changed submodules, sockets, fifos, devices, what cannot be read, what git refuses. Ignored paths are left out. Empty
 * folders are not named: git has no word for them.
 *
 * @param submodules paths of the base's submodules that still are folders; the index has to be without them.
 */
export async function findLeftovers(
  git: Git,
  ground: Ground,
  submodules: ReadonlySet<BytePath>,
): Promise<NotCarried[]> {
  const found = new Map<BytePath, string>();
  const nested = new Set<BytePath>();
  const refused = async (path: BytePath): Promise<void> => {
    if (!isWithin(path, submodules))
      found.set(path, (await isReadable(ground, path)) ? 'refused by git' : 'unreadable file');
  };
  for (const path of await listPaths(git, ground, UNTRACKED)) {
    // A folder in this list (its name ends in a slash) is a repository of its own: git does not look into it.
    if (path.endsWith('/')) nested.add(path.slice(0, -1));
    else await refused(path);
  }
  for (const path of await listPaths(git, ground, DIFFERING)) await refused(path);

  const ignored = new Set((await listPaths(git, ground, IGNORED)).map((path) => path.replace(/\/$/, '')));
  const special: BytePath[] = [];
  const folders: BytePath[] = [''];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const entries = await readFolder(ground, folder);
    if (entries === undefined) {
      found.set(folder, 'unreadable folder');
      continue;
    }
    for (const entry of entries) {
      const name = entry.name.toString('latin1');
      const path = folder === '' ? name : `${folder}/${name}`;
      if (name === '.git') {
        // The files beside it are carried, the history in it is not.
        if (folder !== '') found.set(path, 'git directory');
      } else if (ignored.has(path)) {
        continue;
      } else if (submodules.has(path)) {
        if ((await readFolder(ground, path))?.length !== 0) found.set(path, 'submodule');
      } else if (nested.has(path)) {
        found.set(path, 'nested repository');
      } else if (entry.isDirectory()) {
        folders.push(path);
      } else if (!entry.isFile() && !entry.isSymbolicLink()) {
        found.set(path, specialName(entry));
        special.push(path);
      }
    }
  }
  // git lists no sockets, fifos and devices, so it has to be asked whether it would ignore them.
  if (special.length > 0) {
    const asked = await git(['check-ignore', '-z', '--stdin', '--no-index'], {
      ...ground,
      input: joinPaths(special),
      accept: [0, 1],
    });
    for (const path of splitPaths(asked.stdout)) found.delete(path);
  }
  return [...found]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, what]) => ({ path: pathFields(path).path, what }));
}

/** Untracked and not ignored. */
export const UNTRACKED = ['ls-files', '-o', '--exclude-standard', '-z'];
/** Tracked, and not as the index has it. */
export const DIFFERING = ['diff-files', '--name-only', '--ignore-submodules=all', '-z'];
const IGNORED = ['ls-files', '-o', '-i', '--exclude-standard', '--directory', '-z'];

export async function listPaths(git: Git, ground: GitOptions, args: readonly string[]): Promise<BytePath[]> {
  return splitPaths((await git(args, ground)).stdout);
}

export function splitPaths(output: Buffer): BytePath[] {
  const paths = output.toString('latin1').split('\0');
  paths.pop();
  return paths;
}

export function joinPaths(paths: readonly BytePath[]): Buffer {
  return Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
}

/** Whether a path is one of these or lies below one. */
export function isWithin(path: BytePath, folders: ReadonlySet<BytePath>): boolean {
  if (folders.size === 0) return false;
  for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
    if (folders.has(path.slice(0, end))) return true;
  }
  return false;
}

/** Whether it is a folder, reached through folders only: a link on the way leads out of the work tree. */
export async function isRealFolder(ground: Ground, path: BytePath): Promise<boolean> {
  const segments = path.split('/');
  for (let count = 1; count <= segments.length; count++) {
    const stats = await lstat(onDisk(ground, segments.slice(0, count).join('/'))).catch(() => undefined);
    if (stats?.isDirectory() !== true) return false;
  }
  return true;
}

/** The file's name for the file system, byte for byte. */
export function onDisk(ground: Ground, path: BytePath): Buffer {
  return Buffer.concat([Buffer.from(`${ground.workTree}/`), Buffer.from(path, 'latin1')]);
}

async function readFolder(ground: Ground, folder: BytePath): Promise<Dirent<Buffer>[] | undefined> {
  return readdir(onDisk(ground, folder), { withFileTypes: true, encoding: 'buffer' }).catch(() => undefined);
}

async function isReadable(ground: Ground, path: BytePath): Promise<boolean> {
  const file = onDisk(ground, path);
  const stats = await lstat(file).catch(() => undefined);
  if (stats?.isSymbolicLink() === true) return true;
  // Without waiting: a fifo has nobody at its other end.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  await handle?.close();
  return handle !== undefined;
}

function specialName(entry: Dirent<Buffer>): string {
  if (entry.isFIFO()) return 'fifo';
  if (entry.isSocket()) return 'socket';
  return 'device';
}
