import { MAX_WAITING_PROMPTS, type Prompted, type PromptRequest } from '../../contract/api-steering.ts';
import { now } from '../../contract/ids.ts';
import { isTerminal } from '../../contract/run.ts';
import { AppError } from '../../errors.ts';
import type { NewEvent, Tx } from '../../store/store.ts';
import type { Context } from '../context.ts';
import { moveVariation, serverEvent } from '../moves.ts';
import { findRun, findVariation } from '../rows.ts';
import { checkPrompt } from '../submit.ts';
import { checkRoom, openRun, sourceOf } from './gate.ts';
import { addPrompt, shownPrompt, waitingPrompts, withdraw } from './prompts.ts';

/**
 * Tells a variation what to do next. While it is under way: the next turn of its session. When it is over: a new attempt that goes on
 * from the last one's work and conversation. Stored before it is answered for.
 *
 * Errors: invalid_prompt, run_not_found, variation_not_found, run_time_up, budget_exhausted, too_many_requests (too many wait),
 * not_finished (it is being stopped), nothing_to_continue.
 */
export async function followUp(
  context: Context,
  runId: string,
  index: number,
  { prompt }: PromptRequest,
): Promise<Prompted & { run: number }> {
  checkPrompt(context, prompt);
  const { store } = context;
  const { no: run } = await findRun(store, runId);
  await findVariation(store, { no: run, id: runId }, index);
  checkRoom(context, run, index);
  const prompted = await store.write({
    within: (tx, emit) => record(context, { run, runId, index, prompt }, tx, emit),
  });
  return { ...prompted, run };
}

function record(
  { store: { db }, secrets }: Context,
  { run, runId, index, prompt }: { run: number; runId: string; index: number; prompt: string },
  tx: Tx,
  emit: (event: NewEvent) => void,
): Prompted {
  const { retries } = openRun(db, tx, run, runId);
  const ofVariation = db.selectFrom('variations').selectAll().where('run', '=', run).where('idx', '=', index);
  const [variation] = tx.all(ofVariation);
  if (variation === undefined) throw new AppError('variation_not_found', `Run ${runId} has no variation ${index}.`);
  const before = tx.all(waitingPrompts(db, run, index)).length;
  if (before >= MAX_WAITING_PROMPTS) {
    throw new AppError('too_many_requests', `${before} prompts of variation ${index} wait already.`, {
      hint: 'Wait until it has taken some of them.',
    });
  }
  const isOver = isTerminal(variation.status);
  if (!isOver && variation.stop_reason !== null) {
    throw new AppError('not_finished', `Variation ${index} is being stopped (${variation.stop_reason}).`, {
      hint: 'Say it again when it has ended: a new attempt goes on from what it left.',
    });
  }
  const said = { run_id: runId, variation_id: index, waiting: before + 1 };
  const shown = shownPrompt({ secrets }, prompt);
  const tell = (promptId: number, facts: object): void =>
    emit(
      serverEvent(run, index, 'prompt_queued', {
        run_id: runId,
        variation_id: index,
        timestamp: now(),
        prompt_id: promptId,
        content: shown,
        ...facts,
      }),
    );
  if (!isOver) {
    const promptId = addPrompt(db, tx, { run, variation: index, text: prompt, origin: variation.start_from });
    tell(promptId, { becomes: 'next_turn' });
    return { ...said, prompt_id: promptId, becomes: 'next_turn' };
  }
  const { no, notes, ...continues } = sourceOf(db, tx, variation, runId);
  tx.run(
    db
      .updateTable('variations')
      .set({ start_from: no, retries_left: retries })
      .where('run', '=', run)
      .where('idx', '=', index),
  );
  withdraw(db, tx, run, index);
  // A person wants more of it: the run is no longer one that was cancelled.
  tx.run(db.updateTable('runs').set({ cancelled_at: null }).where('no', '=', run));
  const promptId = addPrompt(db, tx, { run, variation: index, text: prompt, origin: no });
  tell(promptId, { becomes: 'new_attempt', continues });
  moveVariation(db, tx, emit, run, index, (moves) => moves.variation('queued'));
  const [choice] = tx.all(db.selectFrom('choices').select(['variation', 'attempt']).where('run', '=', run));
  if (choice?.variation === index)
    notes.push('It was chosen as it was: that choice stays until the variation is chosen again.');
  return { ...said, prompt_id: promptId, becomes: 'new_attempt', ...(notes.length === 0 ? {} : { notes }) };
}
