import type { SelectRequest } from '../contract/api.ts';
import { now } from '../contract/ids.ts';
import { isTerminal } from '../contract/run.ts';
import { AppError } from '../errors.ts';
import type { NewEvent, Tx } from '../store/store.ts';
import type { Context } from './context.ts';
import { serverEvent } from './moves.ts';
import { findRun, findVariation } from './rows.ts';
import type { Conductor } from './run.ts';

/**
 * Records which variation a person picked: any that has a patch, at any time, also while others still run. It is the result
 * that it has now that is chosen: neither a retry nor a follow-up prompt changes what ships.
 * Errors: run_not_found, variation_not_found, not_finished, nothing_to_ship, already_chosen.
 */
export async function chooseVariation(
  context: Context,
  conductor: Conductor,
  runId: string,
  request: SelectRequest,
): Promise<void> {
  const { store } = context;
  const run = await findRun(store, runId);
  await findVariation(store, run, request.winning_variation_id);
  const choose = (tx: Tx, emit: (event: NewEvent) => void) => record(context, run, request, tx, emit);
  if (request.cancel_rest) await conductor.stop(run.no, 'superseded', { also: choose });
  else await store.write({ within: choose });
}

function record(
  { store: { db }, secrets }: Context,
  run: { no: number; id: string },
  request: SelectRequest,
  tx: Tx,
  emit: (event: NewEvent) => void,
): void {
  const index = request.winning_variation_id;
  const [variation] = tx.all(
    db
      .selectFrom('variations')
      .leftJoin('results', 'results.attempt', 'variations.result_attempt')
      .select(['variations.status', 'variations.end_reason', 'results.attempt', 'results.patch_bytes'])
      .where('variations.run', '=', run.no)
      .where('variations.idx', '=', index),
  );
  if (variation !== undefined && !isTerminal(variation.status)) {
    throw new AppError('not_finished', `Variation ${index} is still ${variation.status}.`, {
      hint: 'Wait for its end, or choose one that has ended.',
    });
  }
  const attempt = variation?.attempt ?? null;
  if (attempt === null || (variation?.patch_bytes ?? 0) === 0) {
    throw new AppError('nothing_to_ship', `Variation ${index} left no change (${variation?.end_reason ?? 'gone'}).`, {
      hint: `\`aideator compare ${run.id}\` shows which have one.`,
    });
  }
  const [made] = tx.all(db.selectFrom('choices').selectAll().where('run', '=', run.no));
  const isSame = made?.variation === index && made.attempt === attempt;
  if (isSame && (request.reason === undefined || request.reason === made.reason)) return;
  if (made !== undefined && made.variation !== index && !request.force) {
    throw new AppError('already_chosen', `Variation ${made.variation} was chosen already.`, {
      hint: 'Repeat it with `force` (--force) to change the choice.',
    });
  }
  const at = now();
  const choice = {
    variation: index,
    attempt,
    reason: request.reason === undefined ? null : secrets.text(request.reason),
    chosen_at: at,
  };
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
}
