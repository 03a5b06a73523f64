import { MAX_VARIATIONS } from '../../contract/api.ts';
import type { Forked, ForkRequest } from '../../contract/api-steering.ts';
import { now } from '../../contract/ids.ts';
import type { Limits } from '../../contract/run.ts';
import { AppError } from '../../errors.ts';
import type { NewEvent, Tx } from '../../store/store.ts';
import type { Context } from '../context.ts';
import { serverEvent, settleRun } from '../moves.ts';
import { findRun, findVariation } from '../rows.ts';
import { checkBudgets, checkPrompt, planVariations, queuedVariation, type PlannedVariation } from '../submit.ts';
import { checkRoom, openRun, sourceOf } from './gate.ts';
import { addPrompt, shownPrompt } from './prompts.ts';

/**
 * Makes a variation of the same run from another's work tree and conversation, with any agent and model, and limits and a budget of
 * its own within the run's. The other stays as it is.
 *
 * Errors: those of a submission; run_not_found, variation_not_found, run_time_up, budget_exhausted, not_finished,
 * nothing_to_continue, invalid_variations (the run has as many as it may have).
 */
export async function forkVariation(context: Context, runId: string, request: ForkRequest): Promise<Forked> {
  const { from, attempt, prompt, ...asked } = request;
  checkPrompt(context, prompt);
  const { store } = context;
  const run = await findRun(store, runId);
  const source = await findVariation(store, run, from);
  // What both have in common needs no naming.
  const isSame = (asked.agent ?? source.agent) === source.agent && (asked.model ?? source.model) === source.model;
  const [planned] = planVariations(context, {
    limits: JSON.parse(run.limits) as Limits,
    variations: [
      { agent: source.agent, model: source.model, ...(isSame ? { dialect: source.dialect } : {}), ...definedOf(asked) },
    ],
  });
  if (planned === undefined) throw new AppError('internal', 'A fork was planned as no variation.');
  checkRoom(context, run.no);
  const notes = checkBudgets(context, run.budget, [planned]);
  return store.write({
    within: (tx, emit) => record(context, { run, from, attempt, prompt, planned, notes }, tx, emit),
  });
}

function record(
  { store: { db }, secrets }: Context,
  fork: {
    run: { no: number; id: string };
    from: number;
    attempt: number | undefined;
    prompt: string;
    planned: PlannedVariation;
    notes: string[];
  },
  tx: Tx,
  emit: (event: NewEvent) => void,
): Forked {
  const { no: run, id: runId } = fork.run;
  const { retries } = openRun(db, tx, run, runId);
  const all = tx.all(db.selectFrom('variations').selectAll().where('run', '=', run).orderBy('idx'));
  if (all.length >= MAX_VARIATIONS) {
    throw new AppError(
      'invalid_variations',
      `Run ${runId} has ${all.length} variations already, and can have no more.`,
      {
        hint: 'Tell one of them what to do next instead, or submit a new run.',
      },
    );
  }
  const source = all.find(({ idx }) => idx === fork.from);
  if (source === undefined) throw new AppError('variation_not_found', `Run ${runId} has no variation ${fork.from}.`);
  const { no, notes, ...forkedFrom } = sourceOf(db, tx, source, runId, fork.attempt);
  const index = (all.at(-1)?.idx ?? -1) + 1;
  const at = now();
  const place = { run, idx: index, queued_at: at, retries_left: retries };
  tx.run(
    db.insertInto('variations').values({
      ...queuedVariation(fork.planned, place),
      start_from: no,
      forked_from: no,
    }),
  );
  const promptId = addPrompt(db, tx, { run, variation: index, text: fork.prompt, origin: no });
  tx.run(db.updateTable('runs').set({ cancelled_at: null }).where('no', '=', run));
  const { agent, model, strategy } = fork.planned;
  const base = { run_id: runId, variation_id: index, timestamp: at };
  emit(
    serverEvent(run, index, 'variation_status', {
      ...base,
      status: 'queued',
      previous: null,
      agent,
      model,
      strategy,
      forked_from: forkedFrom,
    }),
  );
  const content = shownPrompt({ secrets }, fork.prompt);
  const told = { ...base, prompt_id: promptId, becomes: 'new_attempt', forked_from: forkedFrom, content };
  emit(serverEvent(run, index, 'prompt_queued', told));
  settleRun(db, tx, emit, run);
  const said = [...fork.notes, ...notes];
  return { run_id: runId, variation_id: index, forked_from: forkedFrom, ...(said.length === 0 ? {} : { notes: said }) };
}

/** Without what was left out. */
function definedOf<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}
