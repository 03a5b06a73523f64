import { AppError } from '../errors.ts';
import type { Git } from './command.ts';

/** Refuses what git would not take as a branch's name. Errors: invalid_branch. */
export async function assertBranchName(git: Git, branch: string): Promise<void> {
  const hint = 'Use letters, digits, dots, dashes and slashes, e.g. aideator/fix-login.';
  // `check-ref-format --branch` would also expand @{-1} to a branch the user was on before; the name alone is meant here.
  const plausible =
    branch !== '' &&
    !branch.startsWith('-') &&
    branch !== 'HEAD' &&
    branch !== '@' &&
    !branch.startsWith('refs/') &&
    !branch.includes('\0');
  if (plausible && (await git(['check-ref-format', `refs/heads/${branch}`], { accept: [0, 1] })).code === 0) return;
  throw new AppError('invalid_branch', `${JSON.stringify(branch)} is not a name git takes for a branch.`, { hint });
}
