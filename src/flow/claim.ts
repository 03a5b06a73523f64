import type { AttemptResult } from '../contract/attempt.ts';
import type { ClaimedAttempt, NextPromptAnswer } from '../contract/attempt-door.ts';
import { AppError } from '../errors.ts';
import type { Pods } from '../runtime/pods.ts';
import type { AttemptCaller, Context } from './context.ts';
import { patchPath } from './finish.ts';
import { specOf, type SpecSources } from './start.ts';
import { waitingPrompts } from './steering/prompts.ts';
import { taskOf } from './steering/task.ts';

/**
 * An attempt is claimed by a pod of its Job: the first has it, and gets to know what it is to do, as the rows say it. Errors:
 * attempt_taken; forbidden where the attempt is over.
 */
export async function claimAttempt(
  context: Pick<Context, 'store'> & SpecSources,
  pods: Pods,
  caller: AttemptCaller,
  podUid: string,
): Promise<ClaimedAttempt> {
  const { db } = context.store;
  const run = await db.selectFrom('runs').selectAll().where('no', '=', caller.runNo).executeTakeFirst();
  const variation = await db
    .selectFrom('variations')
    .selectAll()
    .where('run', '=', caller.runNo)
    .where('idx', '=', caller.variation)
    .executeTakeFirst();
  const row = await db
    .selectFrom('attempts')
    .select(['id', 'continues', 'prompt'])
    .where('no', '=', caller.attemptNo)
    .executeTakeFirst();
  const intake = pods.get(caller.attemptId);
  if (run === undefined || variation === undefined || intake === undefined) throw isOver();
  if (!(await intake.claim(podUid))) {
    throw new AppError('attempt_taken', `Another pod has this attempt: ${intake.podUid ?? 'unknown'}.`);
  }
  // Its work is fetched from the door: where the patch lies here means nothing in a pod.
  const { store } = context;
  const attempt = row ?? { id: caller.attemptId, continues: null, prompt: null };
  const task = await taskOf({ store }, { run, variation, attempt });
  const spec = specOf(context, run, variation, { id: caller.attemptId, attempt: caller.attempt, task });
  return { ...spec, repository: { base: run.base } };
}

/** The mirror that an attempt may fetch from, and the one commit that is for it. Errors: forbidden where its run is gone. */
export async function repositoryOf(
  context: Pick<Context, 'store' | 'mirrors'>,
  caller: AttemptCaller,
): Promise<{ source: string; base: string }> {
  const run = await context.store.db
    .selectFrom('runs')
    .select(['mirror', 'base'])
    .where('no', '=', caller.runNo)
    .executeTakeFirst();
  if (run === undefined) throw isOver();
  return { source: context.mirrors.path(run.mirror), base: run.base };
}

/**
 * The patch that an attempt's work tree starts with, by its hash. Errors: not_found where it is not that attempt's; forbidden where the
 * run is gone.
 */
export async function workOf(
  context: Pick<Context, 'store'> & { config: Pick<Context['config'], 'data_dir'> },
  caller: AttemptCaller,
  sha256: string,
): Promise<{ file: string; bytes: number }> {
  const earlier = await context.store.db
    .selectFrom('attempts as mine')
    .innerJoin('attempts as earlier', 'earlier.no', 'mine.continues')
    .innerJoin('results', 'results.attempt', 'earlier.no')
    .select(['earlier.id', 'results.data'])
    .where('mine.no', '=', caller.attemptNo)
    .executeTakeFirst();
  const result = earlier === undefined ? null : (JSON.parse(earlier.data) as AttemptResult);
  if (earlier === undefined || result?.patch_sha256 !== sha256)
    throw new AppError('not_found', 'This attempt starts with no such patch.');
  return { file: patchPath(context, earlier.id), bytes: result.patch_bytes };
}

/** The first prompt behind a number that waits for the attempt's variation. */
export async function nextPromptOf(
  context: Pick<Context, 'store'>,
  caller: AttemptCaller,
  after: number,
): Promise<NextPromptAnswer['prompt']> {
  const waiting = waitingPrompts(context.store.db, caller.runNo, caller.variation);
  const row = await waiting.where('no', '>', after).limit(1).executeTakeFirst();
  return row === undefined ? null : { no: row.no, text: row.text };
}

function isOver(): AppError {
  return new AppError('forbidden', 'The attempt is over: nothing more is wanted of it.');
}
