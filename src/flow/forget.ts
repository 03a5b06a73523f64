import { rm } from 'node:fs/promises';
import { now } from '../contract/ids.ts';
import type { Tx } from '../store/store.ts';
import type { Context, RunningContext } from './context.ts';
import { patchPath } from './finish.ts';
import { findRun } from './rows.ts';
import type { Conductor } from './run.ts';

/** Cancels all of a run that is not over; nothing where it is over. `also` is stored in the same transaction. */
export function cancelRun(
  context: Context,
  conductor: Conductor,
  run: { no: number },
  also: (tx: Tx) => void = () => undefined,
): Promise<void> {
  const { db } = context.store;
  return conductor.stop(run.no, 'cancelled', {
    also: (tx) => {
      also(tx);
      tx.run(
        db
          .updateTable('runs')
          .set({ cancelled_at: now() })
          .where('no', '=', run.no)
          .where('cancelled_at', 'is', null)
          .where('ended_at', 'is', null),
      );
    },
  });
}

/**
 * Cancels a run and forgets it. True when it is gone; false while attempts still have to stop (it is no longer listed, and is
 * deleted once they have: `sweepForgotten`). Errors: run_not_found.
 */
export async function forgetRun(context: RunningContext, conductor: Conductor, runId: string): Promise<boolean> {
  const run = await findRun(context.store, runId);
  const { db } = context.store;
  await cancelRun(context, conductor, run, (tx) => {
    tx.run(db.updateTable('runs').set({ forget_at: now() }).where('no', '=', run.no));
  });
  await sweepForgotten(context);
  return (await db.selectFrom('runs').select('no').where('no', '=', run.no).executeTakeFirst()) === undefined;
}

/** After a start: what the last server was told to forget, and died before all of it was told to stop. */
export async function resumeForgetting(context: Context, conductor: Conductor): Promise<void> {
  const left = await context.store.db
    .selectFrom('runs')
    .select('no')
    .where('forget_at', 'is not', null)
    .where('ended_at', 'is', null)
    .execute();
  for (const run of left) await cancelRun(context, conductor, run);
}

/** Deletes the runs that were to be forgotten and are over by now: rows, events, patches, and what was kept of attempts. */
export async function sweepForgotten(context: RunningContext): Promise<void> {
  const { db } = context.store;
  const over = await db
    .selectFrom('runs')
    .select(['no', 'id'])
    .where('forget_at', 'is not', null)
    .where('ended_at', 'is not', null)
    .execute();
  for (const { no, id } of over) {
    const attempts = await db.selectFrom('attempts').select('id').where('run', '=', no).execute();
    for (const attempt of attempts) {
      await rm(patchPath(context, attempt.id), { force: true });
      await context.runtime.remove(attempt.id, 'now');
    }
    await context.store.deleteRun(no);
    context.telemetry.log.info({ run: id }, 'the run was forgotten');
  }
}
