import type { SelectRequest } from '../contract/api.ts';
import { now } from '../contract/ids.ts';
import { isTerminal } from '../contract/run.ts';
import { AppError } from '../errors.ts';
import type { Context } from './context.ts';
import { serverEvent } from './moves.ts';
import { findRun, findVariation } from './rows.ts';
import type { Conductor } from './run.ts';
import { resultOf } from './views.ts';

/**
 * Records which variation a person picked: any that has a patch, at any time, also while others still run.
 * Errors: run_not_found, variation_not_found, not_finished, nothing_to_ship, already_chosen.
 */
export async function chooseVariation(
  context: Context,
  conductor: Conductor,
  runId: string,
  request: SelectRequest,
): Promise<void> {
  const run = await findRun(context.store, runId);
  const index = request.winning_variation_id;
  const variation = await findVariation(context.store, run, index);
  if (!isTerminal(variation.status)) {
    throw new AppError('not_finished', `Variation ${index} is still ${variation.status}.`, {
      hint: 'Wait for its end, or choose one that has ended.',
    });
  }
  if ((resultOf(variation)?.patch_bytes ?? 0) === 0) {
    throw new AppError(
      'nothing_to_ship',
      `Variation ${index} left no change (${variation.end_reason ?? variation.status}).`,
      { hint: `\`aideator compare ${runId}\` shows which have one.` },
    );
  }
  const { db } = context.store;
  await context.store.write({
    within: (tx, emit) => {
      const [made] = tx.all(db.selectFrom('choices').selectAll().where('run', '=', run.no));
      if (made?.variation === index && (request.reason === undefined || request.reason === made.reason)) return;
      if (made !== undefined && made.variation !== index && !request.force) {
        throw new AppError('already_chosen', `Variation ${made.variation} was chosen already.`, {
          hint: 'Repeat it with `force` (--force) to change the choice.',
        });
      }
      const at = now();
      const choice = { variation: index, reason: request.reason ?? null, chosen_at: at };
      tx.run(
        db
          .insertInto('choices')
          .values({ run: run.no, ...choice })
          .onConflict((conflict) => conflict.column('run').doUpdateSet(choice)),
      );
      emit(
        serverEvent(run.no, index, 'run_choice', {
          run_id: run.id,
          variation_id: index,
          timestamp: at,
          winning_variation_id: index,
          reason: choice.reason,
          previous: made?.variation ?? null,
        }),
      );
    },
  });
  if (request.cancel_rest) await conductor.stop(run.no, 'superseded');
}
