import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { lstat, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError } from '../errors.ts';
import { borrow, textOf } from './borrowed.ts';
import { parseChanges, type BytePath, type Change } from './changes.ts';
import { gitFailed, isDiskFull, type Git } from './command.ts';
import type { AttemptResult, Snapshot } from './git.ts';
import {
  DIFFERING,
  findLeftovers,
  isRealFolder,
  isWithin,
  joinPaths,
  listPaths,
  onDisk,
  splitPaths,
  UNTRACKED,
  type Ground,
} from './leftovers.ts';

/** `git apply` refuses patches of 1 GiB and more. */
export const MAX_PATCH_BYTES = 1000 * 1024 * 1024;

export interface SnapshotRequest {
  /** The mirror's path (or a URL that hands out the base). */
  source: string;
  base: string;
  /** The agent's work tree. The agent has to be gone: nothing here is locked. */
  workTree: string;
  /** A folder outside of the work tree for a git directory of our own. What is in it is removed first; the caller removes it in the end. */
  gitDir: string;
  /** Where the patch is written. */
  patchFile: string;
  /** Most bytes of a patch. */
  maxBytes?: number | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Takes what an attempt left: its whole work tree against the base, as a tree, a patch and a list of files.
 *
 * The work tree's own `.git` is never consulted: the agent could have written it. Everything runs with a git directory of our own,
 * which defines no hook, no filter and no diff driver; so what `.gitattributes` names does not run. Paths ignored by the work
 * tree's `.gitignore` files are left out, unless the base has them.
 *
 * Errors: git_failed, patch_invalid (too large to be applied), disk_full.
 */
export async function takeSnapshot(git: Git, request: SnapshotRequest): Promise<Snapshot> {
  const { source, base, signal } = request;
  const workTree = resolve(request.workTree);
  const gitDir = resolve(request.gitDir);
  const stats = await lstat(workTree).catch(() => undefined);
  if (stats?.isDirectory() !== true) {
    throw new AppError('git_failed', `The workspace is gone: ${workTree} is no folder any more.`, {
      hint: 'The agent removed or replaced its own workspace; there is nothing left to take.',
    });
  }
  // What a recorder that was killed half-way left (a lock, half an index) must not stand in the way.
  await rm(gitDir, { recursive: true, force: true });
  await borrow(git, { source, base, gitDir });
  const ground: Ground = { gitDir, workTree, indexFile: join(gitDir, 'index'), cwd: workTree, signal };

  await git(['read-tree', base], ground);
  // Submodules leave the index while files are added: for one in the index, git would run `git status` inside it, with
  // whatever configuration the agent gave it.
  const submodules = await takeOutSubmodules(git, ground);
  const kept = new Map<BytePath, string>();
  for (const [path, entry] of submodules) if (await isRealFolder(ground, path)) kept.set(path, entry);
  const folders = new Set(kept.keys());
  await addAll(git, ground, folders);
  await takeOutSubmodules(git, ground);
  const notCarried = await findLeftovers(git, ground, folders);
  await putIntoIndex(git, ground, [...kept.values(), ...(await unchangedEntries(git, ground, base))]);

  const tree = textOf(await git(['write-tree'], ground));
  const bare = { gitDir, cwd: gitDir, signal };
  const list = await git(
    ['diff-tree', '-r', '-M', '-z', '--raw', '--numstat', '--no-abbrev', ...NO_DRIVERS, base, tree],
    bare,
  );
  const files = parseChanges(list.stdout).map((change) => change.file);
  const patch = await writePatch(git, {
    gitDir,
    base,
    tree,
    patchFile: request.patchFile,
    maxBytes: request.maxBytes ?? MAX_PATCH_BYTES,
    signal,
  });
  const result: AttemptResult = {
    base,
    tree,
    patch_sha256: patch.sha256,
    patch_bytes: patch.bytes,
    files,
    additions: sum(files.map((file) => file.additions)),
    deletions: sum(files.map((file) => file.deletions)),
    not_carried: notCarried,
  };
  return { result, patchFile: request.patchFile };
}

const NO_DRIVERS = ['--no-ext-diff', '--no-textconv'];
/** How every patch is made: nothing of it depends on anybody's configuration. */
export const PATCH_FORMAT = [
  '--binary',
  '--full-index',
  '--no-color',
  ...NO_DRIVERS,
  '--src-prefix=a/',
  '--dst-prefix=b/',
  '-M',
  '--submodule=short',
  '--ignore-submodules=none',
];

/** Takes all submodules out of the index; returns them with their entries. */
async function takeOutSubmodules(git: Git, ground: Ground): Promise<Map<BytePath, string>> {
  const found = new Map<BytePath, string>();
  for (const line of splitPaths((await git(['ls-files', '--stage', '-z'], ground)).stdout)) {
    // <mode> <object> <stage>\t<path>
    const tab = line.indexOf('\t');
    const [mode = '', id = ''] = line.slice(0, tab).split(' ');
    if (mode === '160000') found.set(line.slice(tab + 1), `${mode} ${id}\t${line.slice(tab + 1)}`);
  }
  await putIntoIndex(
    git,
    ground,
    [...found].map(([path, entry]) => `0 ${'0'.repeat(entry.indexOf('\t') - entry.indexOf(' ') - 1)}\t${path}`),
  );
  return found;
}

async function putIntoIndex(git: Git, ground: Ground, entries: readonly string[]): Promise<void> {
  if (entries.length > 0) await git(['update-index', '-z', '--index-info'], { ...ground, input: joinPaths(entries) });
}

/** Adds the whole work tree to the index. A file that git cannot take does not keep the others out. */
async function addAll(git: Git, ground: Ground, except: ReadonlySet<BytePath>): Promise<void> {
  const all = ['.', ...[...except].map((path) => `:(exclude,literal)${path}`)];
  if (await add(git, ground, [], all)) return;
  // git died on one file (one whose .gitattributes name an encoding that it does not have): find it by halving.
  const paths = [...(await listPaths(git, ground, UNTRACKED)), ...(await listPaths(git, ground, DIFFERING))];
  const wanted = paths.filter((path) => !path.endsWith('/') && !isWithin(path, except));
  const groups = wanted.length === 0 ? [] : [wanted];
  for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
    if ((await add(git, ground, ['--literal-pathspecs'], group)) || group.length === 1) continue;
    const middle = Math.ceil(group.length / 2);
    groups.push(group.slice(0, middle), group.slice(middle));
  }
}

/** Whether git came to its end; files that it could not take are found afterwards. */
async function add(git: Git, ground: Ground, flags: readonly string[], pathspecs: readonly string[]): Promise<boolean> {
  const added = await git([...flags, 'add', '-A', '--ignore-errors', '--pathspec-from-file=-', '--pathspec-file-nul'], {
    ...ground,
    input: joinPaths(pathspecs),
    accept: 'any',
  });
  // Every file would fail, and the result look like a choice of git's.
  if (isDiskFull(added.stderr)) throw gitFailed('git add', added);
  return added.code < 128;
}

/**
 * Index entries for files whose bytes are the base's, although git would store them otherwise: a file committed with CRLF that
 * `.gitattributes` wants with LF looks changed in a fresh checkout already. The agent did not change it.
 */
async function unchangedEntries(git: Git, ground: Ground, base: string): Promise<string[]> {
  const list = await git(
    ['diff-index', '--cached', '--raw', '--no-abbrev', '--no-renames', '--ignore-submodules=all', '-z', base],
    ground,
  );
  const entries: string[] = [];
  for (const change of parseChanges(list.stdout)) {
    if (change.file.status !== 'modified' || !(await isRealFolderOf(ground, change))) continue;
    if ((await hashAsBlob(ground, change.path, base.length)) === change.oldId) {
      entries.push(`${change.file.new_mode} ${change.oldId}\t${change.path}`);
    }
  }
  return entries;
}

async function isRealFolderOf(ground: Ground, change: Change): Promise<boolean> {
  const slash = change.path.lastIndexOf('/');
  return (
    (slash === -1 || (await isRealFolder(ground, change.path.slice(0, slash)))) &&
    (await lstat(onDisk(ground, change.path))).isFile()
  );
}

/** The object name git gives to a file's bytes as they are. null for one that cannot be read. */
async function hashAsBlob(ground: Ground, path: BytePath, hex: number): Promise<string | null> {
  const file = onDisk(ground, path);
  const hash = createHash(hex === 64 ? 'sha256' : 'sha1').update(`blob ${(await lstat(file)).size}\0`);
  try {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  } catch {
    return null;
  }
  return hash.digest('hex');
}

async function writePatch(
  git: Git,
  {
    gitDir,
    base,
    tree,
    patchFile,
    maxBytes,
    signal,
  }: {
    gitDir: string;
    base: string;
    tree: string;
    patchFile: string;
    maxBytes: number;
    signal: AbortSignal | undefined;
  },
): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      hash.update(chunk);
      if (bytes <= maxBytes) done(null, chunk);
      else
        done(
          new AppError('patch_invalid', `The change is too large: its patch has more than ${maxBytes} bytes.`, {
            hint: 'Large generated files belong into .gitignore.',
          }),
        );
    },
  });
  // In the bare repository, not over the work tree: there, the agent's .gitattributes would have a say in what is binary.
  await git(['diff', ...PATCH_FORMAT, base, tree], {
    gitDir,
    cwd: gitDir,
    signal,
    onStdout: (stdout: Readable) => pipeline(stdout, measure, createWriteStream(patchFile)),
  });
  return { sha256: hash.digest('hex'), bytes };
}

function sum(numbers: readonly (number | null)[]): number {
  return numbers.reduce<number>((total, number) => total + (number ?? 0), 0);
}
