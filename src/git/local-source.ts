import { realpath, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { AppError } from '../errors.ts';
import { mirrorName } from './address.ts';
import { gitFailed, type Git } from './command.ts';
import { closest, unknownRef } from './failures.ts';
import type { ResolvedRepository } from './git.ts';
import { ALL_REFS, ANY_COMMIT, pinning, type MirrorAccess } from './mirror-access.ts';

/** What one question to the user's repository tells. */
interface Found {
  bare: boolean;
  /** The top of the work tree; the git directory of a bare repository. */
  top: string;
  /** The git directory that all its work trees share: what makes it the same repository. */
  commonDir: string;
  /** The commit that was asked for; null where there is none. */
  commit: string | null;
}

/** Resolves a repository on this machine. Only reading is done in it, with our own configuration over its own. */
export async function resolveLocal(
  access: MirrorAccess,
  path: string,
  ref: string | undefined,
): Promise<ResolvedRepository> {
  const found = await look(access.git, path, ref ?? 'HEAD');
  const counted = found.bare ? Promise.resolve(0) : countUncommitted(access.git, found.top);
  const { commit } = found;
  if (commit === null) {
    await counted;
    throw await missingCommit(access.git, found, ref);
  }
  const mirror = mirrorName(found.commonDir, commit.length);
  await access.alone(mirror, async () => {
    if (await access.isPinned(mirror, commit)) return;
    await access.make(mirror, found.top, commit.length);
    await access.fetch(
      mirror,
      { url: found.commonDir, shown: found.top, user: 'none' },
      [...ALL_REFS, pinning(commit)],
      ['--prune', `--upload-pack=${ANY_COMMIT}`],
    );
  });
  return {
    repository: found.top,
    localPath: found.top,
    mirror,
    ref: ref ?? null,
    base: commit,
    uncommitted: await counted,
  };
}

async function look(git: Git, path: string, ref: string): Promise<Found> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'EACCES' ? 'may not be read' : 'does not exist';
    throw new AppError('repository_not_found', `${path} ${why}.`, {
      hint: 'Give the path of a git repository on the machine the server runs on.',
      cause: error,
    });
  });
  if (!stats.isDirectory()) throw notGit(path, 'is a file, not a folder');
  // One process for everything: this stands in the way of each submission. --show-cdup and not --show-toplevel, which ends the
  // command in a bare repository. The path comes last but one; it may have line breaks in it.
  const asked = [
    'rev-parse',
    '--is-bare-repository',
    '--is-inside-work-tree',
    '--show-cdup',
    '--path-format=absolute',
    '--git-common-dir',
    '--verify',
    '--quiet',
    '--end-of-options',
    `${ref}^{commit}`,
  ];
  const result = await git(asked, { cwd: path, accept: 'any' });
  const lines = result.stdout.toString().split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (lines.length < 3) {
    if (/not a git repository/i.test(result.stderr)) throw notGit(path, 'is not inside a git repository');
    throw new AppError(
      'repository_not_git',
      `${path} cannot be read as a git repository: ${gitFailed('git rev-parse', result).message}`,
      { hint: `Try: git -C ${path} status` },
    );
  }
  const bare = lines[0] === 'true';
  const inside = lines[1] === 'true';
  const commit = result.code === 0 ? (lines.pop() ?? null) : null;
  const commonDir = await realpath(lines.slice(inside ? 3 : 2).join('\n'));
  // Inside `.git` itself: the work tree around it is meant.
  if (!bare && !inside) {
    const around = dirname(commonDir);
    if (commonDir !== join(around, '.git')) throw notGit(path, 'is a git directory without a work tree of its own');
    return { bare, top: around, commonDir, commit };
  }
  const top = bare ? commonDir : await realpath(resolve(await realpath(path), lines[2] ?? ''));
  return { bare, top, commonDir, commit };
}

function notGit(path: string, why: string): AppError {
  return new AppError('repository_not_git', `${path} ${why}.`, {
    hint: 'Run "git init" there and commit, or give the path of another repository.',
  });
}

/** Why there is no such commit: an empty repository, a HEAD that points at nothing, or a wrong name. */
async function missingCommit(git: Git, found: Found, ref: string | undefined): Promise<AppError> {
  const gitDir = found.commonDir;
  const listed = await git(['for-each-ref', '--format=%(refname:short)', 'refs/heads', 'refs/tags', 'refs/remotes'], {
    gitDir,
    cwd: found.top,
  });
  const names = listed.stdout
    .toString()
    .split('\n')
    .filter((name) => name !== '');
  if (
    names.length === 0 &&
    (await git(['rev-parse', '--verify', '--quiet', 'HEAD'], { gitDir, cwd: found.top, accept: 'any' })).code !== 0
  ) {
    return new AppError('repository_empty', `${found.top} has no commit yet.`, {
      hint: 'Commit something first: git add -A && git commit -m "First commit"',
    });
  }
  if (ref !== undefined) return unknownRef(found.top, ref, names);
  const some = names.slice(0, 5).join(', ');
  return new AppError('unknown_ref', `HEAD of ${found.top} points at a branch without a commit.`, {
    hint: `Name the branch to start from: ${closest('main', names)[0] ?? some}`,
  });
}

/** How long the count of changes may hold up a submission. */
const STATUS_TIMEOUT_MS = 1_500;

/** Changes in the user's work tree that no commit has. It is the user's own repository, so their own configuration holds. */
async function countUncommitted(git: Git, top: string): Promise<number | null> {
  try {
    const args = [
      'status',
      '--porcelain',
      '-z',
      '--no-renames',
      '--untracked-files=normal',
      '--ignore-submodules=dirty',
    ];
    const { stdout } = await git(args, { cwd: top, user: 'person', timeoutMs: STATUS_TIMEOUT_MS });
    return stdout.reduce((count, byte) => (byte === 0 ? count + 1 : count), 0);
  } catch {
    // Too slow, or not allowed (a repository of another user's): a run does not depend on it.
    return null;
  }
}
