import { sql, type Selectable } from 'kysely';
import type { Choice, Usage } from '../contract/api.ts';
import type { AttemptResult } from '../contract/attempt.ts';
import { AppError } from '../errors.ts';
import type { RunsTable, VariationsTable } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { budgetSums } from './budget/view.ts';
import { choiceView, type RunRows } from './views.ts';

/** Reading of runs from the store. */

/** Errors: run_not_found. */
export async function findRun(store: Store, runId: string): Promise<Selectable<RunsTable>> {
  const run = await store.db
    .selectFrom('runs')
    .selectAll()
    .where('id', '=', runId)
    .where('forget_at', 'is', null)
    .executeTakeFirst();
  if (run === undefined) throw runNotFound(runId);
  return run;
}

export function runNotFound(runId: string): AppError {
  return new AppError('run_not_found', `There is no run ${JSON.stringify(runId)}.`, {
    hint: '`aideator list` shows the runs there are.',
  });
}

/** Errors: variation_not_found. */
export async function findVariation(
  store: Store,
  run: Pick<Selectable<RunsTable>, 'no' | 'id'>,
  index: number,
): Promise<Selectable<VariationsTable>> {
  const row = await store.db
    .selectFrom('variations')
    .selectAll()
    .where('run', '=', run.no)
    .where('idx', '=', index)
    .executeTakeFirst();
  if (row !== undefined) return row;
  const { count } = await store.db
    .selectFrom('variations')
    .select((expression) => expression.fn.countAll<number>().as('count'))
    .where('run', '=', run.no)
    .executeTakeFirstOrThrow();
  throw new AppError('variation_not_found', `Run ${run.id} has no variation ${index}.`, {
    hint: `It has 0 to ${count - 1}.`,
  });
}

export function findVariations(store: Store, runNo: number): Promise<Selectable<VariationsTable>[]> {
  return store.db.selectFrom('variations').selectAll().where('run', '=', runNo).orderBy('idx').execute();
}

/** The choices of runs, by their numbers. */
export async function findChoices(store: Store, runs: readonly number[]): Promise<Map<number, Choice>> {
  if (runs.length === 0) return new Map();
  const choices = await store.db.selectFrom('choices').selectAll().where('run', 'in', runs).execute();
  const shipments = await store.db.selectFrom('shipments').selectAll().where('run', 'in', runs).orderBy('no').execute();
  return new Map(
    choices.map((choice) => [
      choice.run,
      choiceView(
        choice,
        shipments.filter(({ run }) => run === choice.run),
      ),
    ]),
  );
}

/** What each variation of a run used, over all its attempts. */
export async function usageOf(store: Store, runNo: number): Promise<Map<number, Usage>> {
  // SUM leaves NULLs out; a total with an unknown part is unknown, so they are counted beside it. A call that the provider
  // refused used nothing and is not an unknown part; one that is under way is left out, unless its attempt is over: then its
  // server died in the middle of it, and what it used is unknown.
  const total = (
    column: 'input_tokens' | 'output_tokens' | 'cache_read_tokens' | 'cache_write_tokens' | 'cost_microdollars',
  ) =>
    sql<
      number | null
    >`iif(count(${sql.ref(column)}) = count(*) filter (where model_calls.status < 400 or ${sql.ref(column)} is not null), sum(${sql.ref(column)}), null)`.as(
      column,
    );
  const rows = await store.db
    .selectFrom('model_calls')
    .innerJoin('attempts', 'attempts.no', 'model_calls.attempt')
    .where(({ or, eb }) => or([eb('model_calls.settled', 'is not', null), eb('attempts.ended_at', 'is not', null)]))
    .select((e) => [
      'model_calls.variation',
      e.fn.countAll<number>().as('calls'),
      total('input_tokens'),
      total('output_tokens'),
      total('cache_read_tokens'),
      total('cache_write_tokens'),
      total('cost_microdollars'),
    ])
    .where('model_calls.run', '=', runNo)
    .groupBy('model_calls.variation')
    .execute();
  return new Map(rows.map(({ variation, ...usage }) => [variation, usage]));
}

async function resultsOf(store: Store, runNo: number): Promise<RunRows['results']> {
  const rows = await store.db
    .selectFrom('variations')
    .innerJoin('results', 'results.attempt', 'variations.result_attempt')
    .select(['idx', 'tree', 'patch_bytes', 'files', 'additions', 'deletions'])
    .where('variations.run', '=', runNo)
    .execute();
  return new Map(rows.map(({ idx, ...summary }) => [idx, summary]));
}

/** The whole results of a run's variations, by index. */
export async function readResults(store: Store, runNo: number): Promise<Map<number, AttemptResult>> {
  const rows = await store.db
    .selectFrom('variations')
    .innerJoin('results', 'results.attempt', 'variations.result_attempt')
    .select(['idx', 'data'])
    .where('variations.run', '=', runNo)
    .execute();
  return new Map(rows.map(({ idx, data }) => [idx, JSON.parse(data) as AttemptResult]));
}

async function countWaiting(store: Store, runNo: number): Promise<Map<number, number>> {
  const rows = await store.db
    .selectFrom('prompts')
    .select((e) => ['variation', e.fn.countAll<number>().as('count')])
    .where('run', '=', runNo)
    .where('status', '=', 'waiting')
    .groupBy('variation')
    .execute();
  return new Map(rows.map(({ variation, count }) => [variation, count]));
}

export async function readRun(store: Store, run: Selectable<RunsTable>): Promise<RunRows> {
  return {
    run,
    variations: await findVariations(store, run.no),
    attempts: await store.db.selectFrom('attempts').selectAll().where('run', '=', run.no).orderBy('no').execute(),
    usage: await usageOf(store, run.no),
    budgets: await budgetSums(store, run.no),
    results: await resultsOf(store, run.no),
    choice: (await findChoices(store, [run.no])).get(run.no) ?? null,
    promptsWaiting: await countWaiting(store, run.no),
    lastEventId: store.range(run.no)?.last ?? 0,
  };
}
