import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Run } from '../../contract/api.ts';
import { SHIP_AUTHOR, shipMessage } from '../../contract/shipping.ts';
import { AppError } from '../../errors.ts';
import { applyToTree, borrow } from '../../git/borrowed.ts';
import { applyToWorkTree, makeCommit, shipBranch } from '../../git/ship.ts';
import { type Clone, findClone, remotesOf, sameRepository } from './clone.ts';

/**
 * The person's clone of a run's repository; null where the folder is in none. A clone is one that has the run's commit, or one of
 * the run's repository that lacks it still.
 */
export async function cloneOf(
  env: Readonly<Record<string, string | undefined>>,
  folder: string,
  { repository, base }: Pick<Run, 'repository' | 'base'>,
): Promise<{ clone: Clone; hasBase: boolean } | null> {
  const clone = await findClone(env, folder);
  if (clone === null) return null;
  const hasBase = (await clone.ask('cat-file', '-e', `${base}^{commit}`)).code === 0;
  if (hasBase) return { clone, hasBase };
  const wanted = sameRepository(repository);
  for (const url of (await remotesOf(clone)).values()) if (sameRepository(url) === wanted) return { clone, hasBase };
  return null;
}

/** Applies a patch to the clone's work tree, all of it or nothing. Errors: patch_does_not_apply, ship_failed. */
export async function applyHere(clone: Clone, patch: Buffer): Promise<void> {
  await withWorkshop(async (folder) => {
    const patchFile = join(folder, 'patch');
    await writeFile(patchFile, patch);
    await applyToWorkTree(clone.git, { repository: clone.top, patchFile });
  });
}

/**
 * Makes the branch in the clone: one commit on the run's base, the same one that the server would make. Work tree, index and the
 * branch that is checked out stay as they are. Returns the commit.
 * Errors: unknown_ref (the base is not here), invalid_branch, branch_exists, branch_checked_out, patch_invalid, ship_failed.
 */
export async function branchHere(
  { clone, hasBase }: { clone: Clone; hasBase: boolean },
  {
    run,
    index,
    patch,
    branch,
    message,
    force,
  }: { run: Run; index: number; patch: Buffer; branch: string; message: string | undefined; force: boolean },
): Promise<string> {
  const { base } = run;
  if (!hasBase)
    throw new AppError(
      'unknown_ref',
      `Commit ${base.slice(0, 12)}, from which the run started, is not in ${clone.top}.`,
      {
        hint: 'Fetch it first: git fetch (in a shallow clone: git fetch --unshallow)',
      },
    );
  const variation = run.variations[index];
  const { agent = '', model = '', strategy = null } = variation ?? {};
  return withWorkshop(async (folder) => {
    const patchFile = join(folder, 'patch');
    await writeFile(patchFile, patch);
    const gitDir = join(folder, 'ship.git');
    await borrow(clone.git, { source: clone.commonDir, base, gitDir });
    const tree = await applyToTree(clone.git, { base, patchFile, gitDir });
    const commit = await makeCommit(clone.git, {
      source: clone.commonDir,
      base,
      patchFile,
      tree,
      message: message ?? shipMessage({ id: run.run_id, prompt: run.prompt }, { index, agent, model, strategy }),
      date: new Date(variation?.attempts.findLast((attempt) => attempt.ended_at !== null)?.ended_at ?? run.created_at),
      author: SHIP_AUTHOR,
      gitDir,
    });
    await shipBranch(clone.git, { repository: clone.top, commit, branch, force, gitDir });
    return commit;
  });
}

async function withWorkshop<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'aideator-ship-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
