import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { AppError } from '../errors.ts';
import { borrow, withIndex } from './borrowed.ts';
import { gitFailed, isDiskFull, type Git } from './command.ts';
import { takeSnapshot } from './snapshot.ts';

export interface EarlierWorkRequest {
  /** The mirror's path. */
  source: string;
  base: string;
  /** A fresh workspace with the base checked out: nobody has worked in it. */
  dir: string;
  /** Made by {@link takeSnapshot} of another work tree on the same base. */
  patchFile: string;
  /** The tree that the patch makes of the base. */
  tree: string;
  /** A folder for a git directory of our own, and a file for a patch; both are removed. */
  gitDir: string;
  scratchFile: string;
  signal?: AbortSignal | undefined;
}

/**
 * Puts another attempt's work into a fresh workspace, uncommitted, as that had left it; and proves that its snapshot would be exactly
 * the recorded tree again. Git runs with a git directory of our own, as for every patch.
 *
 * Errors: patch_invalid with git's words, git_failed, disk_full.
 */
export async function putEarlierWork(git: Git, request: EarlierWorkRequest): Promise<void> {
  const { source, base, tree, signal } = request;
  const gitDir = resolve(request.gitDir);
  const workTree = resolve(request.dir);
  try {
    await rm(gitDir, { recursive: true, force: true });
    await borrow(git, { source, base, gitDir });
    await withIndex(gitDir, async (indexFile) => {
      const apply = ['apply', '--whitespace=nowarn', '--', resolve(request.patchFile)];
      const applied = await git(apply, { gitDir, workTree, indexFile, cwd: workTree, accept: 'any', signal });
      if (applied.code === 0) return;
      if (isDiskFull(applied.stderr)) throw gitFailed('git apply', applied);
      throw new AppError(
        'patch_invalid',
        `The patch does not apply to the base: ${applied.stderr.trim().slice(0, 2000)}`,
      );
    });
    const { result } = await takeSnapshot(git, {
      source,
      base,
      workTree,
      gitDir,
      patchFile: request.scratchFile,
      signal,
    });
    if (result.tree !== tree)
      throw new AppError('patch_invalid', `With the patch, the work tree is ${result.tree}, not ${tree}.`);
  } finally {
    await rm(gitDir, { recursive: true, force: true });
    await rm(request.scratchFile, { force: true });
  }
}
