import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AppError } from '../errors.ts';
import { applyToTree, borrow, withIndex } from './borrowed.ts';
import type { Git } from './command.ts';

/** A clean checkout of the base: files only, no `.git`. Reading is all that is done with it, so variations of a run can share it. */
export async function makeCheckout(
  git: Git,
  { source, base, dir }: { source: string; base: string; dir: string },
): Promise<void> {
  await mkdir(dir, { recursive: true });
  await inScratch(async (gitDir) => {
    await borrow(git, { source, base, gitDir });
    const ground = { gitDir, workTree: resolve(dir), indexFile: join(gitDir, 'index'), cwd: resolve(dir) };
    await git(['read-tree', base], ground);
    await git(['checkout-index', '--all', '--force', '--quiet'], ground);
  });
}

export interface PatchClaim {
  /** The mirror's path. */
  source: string;
  base: string;
  patchFile: string;
  /** A checkout made by {@link makeCheckout}; made for this one time when left out. */
  checkout?: string | undefined;
  /** The tree that the patch has to make of the base, to the byte. */
  expectedTree: string;
}

/**
 * Proves a patch: it applies to a clean checkout of the base, and makes exactly the expected tree of it. The empty patch is
 * valid where the tree is the base's own. Errors: patch_invalid, with git's words.
 */
export async function verifyPatch(
  git: Git,
  { source, base, patchFile, checkout, expectedTree }: PatchClaim,
): Promise<void> {
  await inScratch(async (scratch) => {
    const gitDir = join(scratch, 'git');
    await borrow(git, { source, base, gitDir });
    const tree = await applyToTree(git, { base, patchFile, gitDir });
    if (tree !== expectedTree) {
      throw new AppError('patch_invalid', `The patch makes the tree ${tree} of the base ${base}, not ${expectedTree}.`);
    }
    if ((await stat(patchFile)).size === 0) return;
    const dir = checkout ?? join(scratch, 'checkout');
    if (checkout === undefined) await makeCheckout(git, { source, base, dir });
    await withIndex(gitDir, async (indexFile) => {
      const checked = await git(['apply', '--check', '--whitespace=nowarn', '--', resolve(patchFile)], {
        gitDir,
        indexFile,
        workTree: resolve(dir),
        cwd: resolve(dir),
        accept: 'any',
      });
      if (checked.code !== 0) {
        throw new AppError(
          'patch_invalid',
          `The patch does not apply to a clean checkout of the base: ${checked.stderr.trim().slice(0, 2000)}`,
        );
      }
    });
  });
}

async function inScratch<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'aideator-git-'));
  try {
    return await use(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
