import { rm } from 'node:fs/promises';
import { now } from '../contract/ids.ts';
import { isTerminal, type RunStatus } from '../contract/run.ts';
import type { Context } from './context.ts';
import { patchPath } from './finish.ts';
import { findRun, findVariations } from './rows.ts';
import type { Conductor } from './run.ts';
import { resultOf } from './views.ts';

/**
 * Cancels a run and forgets it. True when it is gone; false while attempts still have to stop (it is no longer listed, and is
 * deleted once they have: `sweepForgotten`). Errors: run_not_found.
 */
export async function forgetRun(context: Context, conductor: Conductor, runId: string): Promise<boolean> {
  const run = await findRun(context.store, runId);
  const { db } = context.store;
  if (!isTerminal(run.status as RunStatus)) {
    await context.store.write({
      within: (tx) =>
        void tx.run(
          db
            .updateTable('runs')
            .set({ cancelled_at: now() })
            .where('no', '=', run.no)
            .where('cancelled_at', 'is', null),
        ),
    });
    await conductor.stop(run.no, 'cancelled');
  }
  await context.store.write({
    within: (tx) => void tx.run(db.updateTable('runs').set({ forget_at: now() }).where('no', '=', run.no)),
  });
  await sweepForgotten(context);
  return (await db.selectFrom('runs').select('no').where('no', '=', run.no).executeTakeFirst()) === undefined;
}

/** Deletes the runs that were to be forgotten and are over by now: rows, events, and patches that no other run has. */
export async function sweepForgotten(context: Context): Promise<void> {
  const { db } = context.store;
  const over = await db
    .selectFrom('runs')
    .select(['no', 'id'])
    .where('forget_at', 'is not', null)
    .where('status', 'in', ['completed', 'failed', 'cancelled'])
    .execute();
  for (const { no, id } of over) {
    const patches = (await findVariations(context.store, no)).flatMap((row) => resultOf(row)?.patch_sha256 ?? []);
    await context.store.deleteRun(no);
    for (const sha256 of patches) {
      const other = await db
        .selectFrom('variations')
        .select('run')
        .where('result', 'like', `%${sha256}%`)
        .limit(1)
        .executeTakeFirst();
      if (other === undefined) await rm(patchPath(context, sha256), { force: true });
    }
    context.telemetry.log.info({ run: id }, 'the run was forgotten');
  }
}
