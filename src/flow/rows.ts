import { sql, type Selectable } from 'kysely';
import type { Choice, Usage } from '../contract/api.ts';
import { AppError } from '../errors.ts';
import type { RunsTable, VariationsTable } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
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
  if (run === undefined)
    throw new AppError('run_not_found', `There is no run ${JSON.stringify(runId)}.`, {
      hint: '`aideator list` shows the runs there are.',
    });
  return run;
}

/** Errors: variation_not_found. */
export async function findVariation(
  store: Store,
  run: Selectable<RunsTable>,
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

export async function findChoice(store: Store, runNo: number): Promise<Choice | null> {
  const choice = await store.db.selectFrom('choices').selectAll().where('run', '=', runNo).executeTakeFirst();
  if (choice === undefined) return null;
  const shipments = await store.db.selectFrom('shipments').selectAll().where('run', '=', runNo).orderBy('no').execute();
  return choiceView(choice, shipments);
}

/** What each variation of a run used, over all its attempts. */
export async function usageOf(store: Store, runNo: number): Promise<Map<number, Usage>> {
  // SUM leaves NULLs out; a total with an unknown part is unknown, so they are counted beside it. A call that the provider
  // refused used nothing and is not an unknown part.
  const total = (
    column: 'input_tokens' | 'output_tokens' | 'cache_read_tokens' | 'cache_write_tokens' | 'cost_microdollars',
  ) =>
    sql<
      number | null
    >`iif(count(${sql.ref(column)}) = count(*) filter (where status < 400 or ${sql.ref(column)} is not null), sum(${sql.ref(column)}), null)`.as(
      column,
    );
  const rows = await store.db
    .selectFrom('model_calls')
    .select((e) => [
      'variation',
      e.fn.countAll<number>().as('calls'),
      total('input_tokens'),
      total('output_tokens'),
      total('cache_read_tokens'),
      total('cache_write_tokens'),
      total('cost_microdollars'),
    ])
    .where('run', '=', runNo)
    .groupBy('variation')
    .execute();
  return new Map(rows.map(({ variation, ...usage }) => [variation, usage]));
}

export async function readRun(store: Store, run: Selectable<RunsTable>): Promise<RunRows> {
  return {
    run,
    variations: await findVariations(store, run.no),
    attempts: await store.db.selectFrom('attempts').selectAll().where('run', '=', run.no).orderBy('no').execute(),
    usage: await usageOf(store, run.no),
    choice: await findChoice(store, run.no),
    lastEventId: store.range(run.no)?.last ?? 0,
  };
}
