import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { attemptResult, type AttemptResult } from '../../src/contract/attempt.ts';
import { verifyPatch } from '../../src/git/verify.ts';
import { git, type TestAttempt } from './attempt.ts';

/** Takes the snapshot, and proves that its patch makes its tree. */
export async function takeProven(attempt: TestAttempt): Promise<AttemptResult & { patch: string }> {
  const result = await attempt.take();
  expect(attemptResult.parse(result)).toMatchObject({ base: attempt.base });
  expect(createHash('sha256').update(readFileSync(attempt.patchFile)).digest('hex')).toBe(result.patch_sha256);
  expect(readFileSync(attempt.patchFile).length).toBe(result.patch_bytes);
  await verifyPatch(git, {
    source: attempt.source,
    base: attempt.base,
    patchFile: attempt.patchFile,
    expectedTree: result.tree,
  });
  return result;
}

/** One line per changed file. */
export const brief = (result: AttemptResult): string[] =>
  result.files.map((file) => `${file.status} ${file.old_path === undefined ? '' : `${file.old_path} -> `}${file.path}`);
