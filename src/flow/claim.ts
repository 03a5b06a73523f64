import type { ClaimedAttempt } from '../contract/attempt-door.ts';
import { AppError } from '../errors.ts';
import type { Pods } from '../runtime/pods.ts';
import type { AttemptCaller, Context } from './context.ts';
import { specOf } from './start.ts';

/**
 * An attempt is claimed by a pod of its Job: the first has it, and gets to know what it is to do, as the rows say it. Errors:
 * attempt_taken; forbidden where the attempt is over.
 */
export async function claimAttempt(
  context: Pick<Context, 'store' | 'agents' | 'config'>,
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
  const intake = pods.get(caller.attemptId);
  if (run === undefined || variation === undefined || intake === undefined) throw isOver();
  if (!(await intake.claim(podUid))) {
    throw new AppError('attempt_taken', `Another pod has this attempt: ${intake.podUid ?? 'unknown'}.`);
  }
  const spec = specOf(context, run, variation, { id: caller.attemptId, attempt: caller.attempt });
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

function isOver(): AppError {
  return new AppError('forbidden', 'The attempt is over: nothing more is wanted of it.');
}
