import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { AttemptSpec } from '../contract/attempt.ts';
import { toAppError } from '../errors.ts';
import type { Git } from '../git/command.ts';
import { takeSnapshot } from '../git/snapshot.ts';
import type { Ending } from './end-words.ts';
import type { Journal } from './journal.ts';
import type { Place, PlacePaths } from './place.ts';

/** The longest result that is written: what reads it puts together at most 64 MiB. */
const MAX_RESULT_BYTES = 48 * 1024 * 1024;

export interface ResultRequest {
  git: Git;
  place: Place;
  /** Where the base is. */
  repository: AttemptSpec['repository'];
  journal: Journal;
}

/** Takes what the agent left, however it ended: cancelled work is work. Its patch is delivered before the result is told. */
export async function takeResult({ git, place, repository, journal }: ResultRequest, end: Ending): Promise<Ending> {
  const { reason, message, exit } = end;
  try {
    const { result } = await takeSnapshot(git, {
      ...repository,
      workTree: place.paths.workspace,
      gitDir: place.paths.snapshot,
      patchFile: place.paths.patch,
    });
    const data = JSON.stringify(result);
    if (data.length > MAX_RESULT_BYTES)
      throw new Error(`the list of its ${result.files.length} changed files is too long`);
    await place.deliver(result);
    journal.append('result', data);
    if (reason === 'end_turn' && result.files.length === 0)
      return { reason: 'no_changes', message: 'The agent said it was done, and nothing was changed.', exit };
    return { reason, message, exit };
  } catch (error) {
    return noResult(journal, toAppError(error).message, end);
  }
}

/** An attempt without a result: that is how it ended, unless it ended badly before. */
export function noResult(journal: Journal, why: string, { reason, message, exit }: Ending): Ending {
  const words = `The result could not be taken: ${why}`;
  journal.note('result_failed', words);
  return reason === 'end_turn' ? { reason: 'result_failed', message: words, exit } : { reason, message, exit };
}

/** A full disk: what the agent kept for itself goes, its work stays. */
export async function makeRoom(paths: PlacePaths): Promise<void> {
  for (const folder of [paths.tmp, paths.home]) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names) await rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined);
  }
}
