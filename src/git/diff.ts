import { resolve } from 'node:path';
import { applyToTree, assertObjectName, borrow } from './borrowed.ts';
import type { Git } from './command.ts';
import { PATCH_FORMAT } from './snapshot.ts';

/**
 * The tree that a patch makes of the base, kept in a git directory of our own at `gitDir` (made when it is not there; one per run
 * will do, several calls at once are fine). Errors: patch_invalid.
 */
export async function treeOf(
  git: Git,
  { source, base, patchFile, gitDir }: { source: string; base: string; patchFile: string; gitDir: string },
): Promise<string> {
  const dir = resolve(gitDir);
  await borrow(git, { source, base, gitDir: dir });
  return applyToTree(git, { base, patchFile, gitDir: dir });
}

/** What turns one tree into another, in the format of our patches. Both have to be in `gitDir`, see {@link treeOf}. */
export async function diffTrees(
  git: Git,
  { gitDir, a, b, maxBytes }: { gitDir: string; a: string; b: string; maxBytes?: number | undefined },
): Promise<Buffer> {
  assertObjectName(a);
  assertObjectName(b);
  const dir = resolve(gitDir);
  return (await git(['diff', ...PATCH_FORMAT, a, b], { gitDir: dir, cwd: dir, maxBytes })).stdout;
}
