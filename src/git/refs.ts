import { AppError } from '../errors.ts';

/** Full names of commits, of either object format. */
export const FULL_NAME = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/i;

/**
 * Refuses what must not reach git as a revision: options, ranges, control characters. What is left (a branch, a tag, a commit's
 * name, `main~2`) git itself knows or not. Errors: unknown_ref.
 */
export function assertPlausibleRef(ref: string): void {
  const wrong =
    ref === '' ||
    ref.startsWith('-') ||
    ref.startsWith('^') ||
    ref.includes('..') ||
    [...ref].some((char) => char < ' ' || char === '\u007f');
  if (!wrong) return;
  throw new AppError('unknown_ref', `${JSON.stringify(ref)} is not a branch, tag or commit.`, {
    hint: 'Give one commit: the name of a branch or a tag, or a commit. No ranges, no options.',
  });
}
