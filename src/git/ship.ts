import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AppError } from '../errors.ts';
import { parseAddress } from './address.ts';
import { applyToTree, assertObjectName, borrow, textOf } from './borrowed.ts';
import { assertBranchName } from './branch.ts';
import { type Git, type GitOptions, lastWords } from './command.ts';
import { foreignOwner, remoteFailure } from './failures.ts';
import { ANY_COMMIT } from './mirror-access.ts';

/** From a patch to a change in the user's repository, without trusting what an agent could have written. */

export interface CommitRequest {
  /** The mirror's path. */
  source: string;
  base: string;
  patchFile: string;
  /** The tree the patch has to make. */
  tree: string;
  /** Kept byte for byte. */
  message: string;
  author: { name: string; email: string };
  /** Same date, same commit: shipping again after a crash changes nothing. Default: now. */
  date?: Date | undefined;
  /** A git directory of our own, made when it is not there; the commit is kept in it. */
  gitDir: string;
}

/** Makes the one commit on top of the base that a shipped variation is. Errors: patch_invalid, git_failed. */
export async function makeCommit(git: Git, request: CommitRequest): Promise<string> {
  const { base, tree, patchFile } = request;
  const gitDir = resolve(request.gitDir);
  await borrow(git, { source: request.source, base, gitDir });
  const made = await applyToTree(git, { base, patchFile, gitDir });
  if (made !== tree)
    throw new AppError('patch_invalid', `The patch makes the tree ${made} of the base ${base}, not ${tree}.`);
  const name = identityPart(request.author.name) || 'AIdeator';
  const email = identityPart(request.author.email) || 'aideator@localhost.invalid';
  const date = `@${Math.floor((request.date ?? new Date()).getTime() / 1000)} +0000`;
  const env = {
    GIT_AUTHOR_NAME: name,
    GIT_AUTHOR_EMAIL: email,
    GIT_AUTHOR_DATE: date,
    GIT_COMMITTER_NAME: name,
    GIT_COMMITTER_EMAIL: email,
    GIT_COMMITTER_DATE: date,
  };
  const bare = { gitDir, cwd: gitDir };
  const commit = textOf(
    await git(['commit-tree', tree, '-p', base, '-F', '-'], { ...bare, env, input: request.message }),
  );
  await git(['update-ref', `refs/aideator/ship/${commit}`, commit], bare);
  return commit;
}

/** What git cannot have in a name or an address is left out. */
function identityPart(text: string): string {
  return [...text]
    .filter((char) => char >= ' ' && char !== '<' && char !== '>' && char !== '\u007f')
    .join('')
    .trim();
}

export interface BranchRequest {
  /** A local path (its top) or a URL. */
  repository: string;
  commit: string;
  branch: string;
  /** Move a branch that exists. One that is checked out is never moved. */
  force: boolean;
  /** Where {@link makeCommit} made the commit. */
  gitDir: string;
}

/**
 * Makes the branch in the user's repository. Work tree, index and checked-out branches stay as they are; no hook is run. A branch
 * that is at the commit already is left alone.
 * Errors: invalid_branch, branch_exists, branch_checked_out, ship_failed, repository_auth_required, repository_unreachable.
 */
export async function shipBranch(git: Git, request: BranchRequest): Promise<void> {
  assertObjectName(request.commit);
  await assertBranchName(git, request.branch);
  const address = parseAddress(request.repository);
  if (address.kind === 'path') await shipToPath(git, { ...request, repository: address.path });
  else await shipToUrl(git, request, address);
}

async function shipToPath(git: Git, { repository, commit, branch, force, gitDir }: BranchRequest): Promise<void> {
  const there = { cwd: repository, user: 'person' } as const;
  await assertDirectory(repository);
  const at = await git(['rev-parse', '--verify', '--quiet', `refs/heads/${branch}`], { ...there, accept: 'any' });
  if (/dubious ownership/.test(at.stderr)) throw foreignOwner(repository);
  if (at.code === 0 && textOf(at) === commit) return;
  if (at.code === 0 && !force) throw branchExists(branch);
  // git refuses to move a branch of another work tree, but only from 2.36 on.
  const holder = at.code === 0 ? await workTreeOf(git, branch, there) : null;
  if (holder !== null) throw checkedOut(branch, `it is that of the work tree ${holder}.`);
  // Objects first, then the branch: its making is one atomic step of git's own with git's own checks.
  const fetched = await git(
    // prettier-ignore
    ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules', '--no-auto-maintenance', `--upload-pack=${ANY_COMMIT}`, '--', resolve(gitDir), commit],
    { ...there, accept: 'any' },
  );
  if (fetched.code !== 0) throw shipFailed(repository, fetched.stderr);
  const made = await git(['branch', '--no-track', ...(force ? ['--force'] : []), '--', branch, commit], {
    ...there,
    accept: 'any',
  });
  if (made.code === 0) return;
  if (/checked out at|used by worktree at|current branch|being (rebased|bisected)/i.test(made.stderr))
    throw checkedOut(branch, lastWords(made.stderr));
  if (/already exists/i.test(made.stderr)) throw branchExists(branch);
  throw shipFailed(repository, made.stderr);
}

/** The work tree that has the branch checked out; null where none has. */
async function workTreeOf(git: Git, branch: string, there: GitOptions): Promise<string | null> {
  const { stdout } = await git(['worktree', 'list', '--porcelain'], there);
  for (const entry of stdout.toString().split('\n\n')) {
    const lines = entry.split('\n');
    if (lines.includes(`branch refs/heads/${branch}`)) return lines[0]?.replace(/^worktree /, '') ?? '';
  }
  return null;
}

async function shipToUrl(
  git: Git,
  { commit, branch, force, gitDir }: BranchRequest,
  { url, shown }: { url: string; shown: string },
): Promise<void> {
  const ref = `refs/heads/${branch}`;
  const ours = {
    gitDir: resolve(gitDir),
    cwd: resolve(gitDir),
    user: 'person',
    accept: 'any',
    timeoutMs: 5 * 60_000,
  } as const;
  const listed = await git(['ls-remote', '--quiet', '--', url, ref], ours);
  if (listed.code !== 0) throw remoteFailure(shown, listed);
  const at = textOf(listed)
    .split('\n')
    .map((line) => line.split('\t'))
    .find(([, name]) => name === ref)?.[0];
  if (at === commit) return;
  if (at !== undefined && !force) throw branchExists(branch);
  // The lease: it is moved only from where it was seen, and made only where there was none.
  const pushed = await git(
    [
      'push',
      '--quiet',
      '--no-verify',
      '--no-follow-tags',
      '--no-signed',
      '--recurse-submodules=no',
      `--force-with-lease=${ref}:${at ?? ''}`,
      '--',
      url,
      `${commit}:${ref}`,
    ],
    ours,
  );
  if (pushed.code === 0) return;
  if (/stale info/.test(pushed.stderr)) throw branchExists(branch);
  if (/branch is currently checked out/.test(pushed.stderr)) throw checkedOut(branch, pushed.stderr);
  if (/\[(remote )?rejected\]|remote: error|pre-receive hook declined|protected branch/i.test(pushed.stderr))
    throw shipFailed(shown, pushed.stderr);
  throw remoteFailure(shown, pushed);
}

/**
 * Applies a patch to the work tree of the user's repository, all of it or nothing. The index stays as it is.
 * Errors: patch_does_not_apply with git's words, ship_failed where there is no work tree.
 */
export async function applyToWorkTree(
  git: Git,
  { repository, patchFile }: { repository: string; patchFile: string },
): Promise<void> {
  const patch = resolve(patchFile);
  if ((await stat(patch)).size === 0) return;
  await assertDirectory(repository);
  const asked = await git(['rev-parse', '--is-inside-work-tree', '--show-cdup'], {
    cwd: repository,
    user: 'person',
    accept: 'any',
  });
  if (/dubious ownership/.test(asked.stderr)) throw foreignOwner(repository);
  const [inside, up = ''] = asked.stdout.toString().split('\n');
  if (asked.code !== 0 || inside !== 'true') {
    throw new AppError('ship_failed', `${repository} has no work tree to apply a patch to.`, {
      hint: 'Ship it as a branch instead.',
    });
  }
  // From the top: below it, git would leave out the files of other folders without a word.
  const top = { cwd: join(repository, up), user: 'person', accept: 'any' } as const;
  const apply = ['apply', '--whitespace=nowarn', '--no-ignore-whitespace'];
  for (const flags of [['--check'], []]) {
    const result = await git([...apply, ...flags, '--', patch], top);
    if (result.code === 0) continue;
    throw new AppError(
      'patch_does_not_apply',
      `The patch does not apply to ${repository}; nothing was changed: ${lastWords(result.stderr)}`,
      {
        hint: 'The files were changed since the run started. Ship it as a branch and merge that, or put your own changes aside first (git stash).',
      },
    );
  }
}

async function assertDirectory(path: string): Promise<void> {
  if (
    await stat(path).then(
      (stats) => stats.isDirectory(),
      () => false,
    )
  )
    return;
  throw new AppError('repository_not_found', `${path} does not exist any more.`, {
    hint: 'Put the repository back to where it was when the run was started.',
  });
}

function branchExists(branch: string): AppError {
  return new AppError('branch_exists', `There is a branch ${branch} already.`, {
    hint: 'Choose another name, or force it to be moved.',
  });
}

function checkedOut(branch: string, how: string): AppError {
  return new AppError('branch_checked_out', `The branch ${branch} is checked out, so it is not moved: ${how}`, {
    hint: 'Choose another name.',
  });
}

function shipFailed(shown: string, stderr: string): AppError {
  return new AppError('ship_failed', `${shown} did not take the branch: ${lastWords(stderr)}`, {
    hint: 'See what the repository says; choose another branch name if that is it.',
  });
}
