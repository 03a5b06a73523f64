import { sql } from 'kysely';
import type { Budget, BudgetView } from '../../contract/budget.ts';
import type { Store } from '../../store/store.ts';
import type { Account } from './ledger.ts';

/** Budgets as the API shows them, from what is stored. */

/** What the calls of a variation count with. */
export interface BudgetSums {
  used_microdollars: number;
  used_tokens: number;
  reserved_microdollars: number;
  reserved_tokens: number;
  largest_reservation_microdollars: number;
  largest_reservation_tokens: number;
  assumed_calls: number;
}

const nothing: BudgetSums = {
  used_microdollars: 0,
  used_tokens: 0,
  reserved_microdollars: 0,
  reserved_tokens: 0,
  largest_reservation_microdollars: 0,
  largest_reservation_tokens: 0,
  assumed_calls: 0,
};

/** The sums of a run's variations, by index. */
export async function budgetSums(store: Store, runNo: number): Promise<Map<number, BudgetSums>> {
  const sum = (what: 'microdollars' | 'tokens', isOver: boolean) =>
    sql<number>`coalesce(sum(${sql.ref(`charged_${what}`)}) filter (where ${sql.ref('settled')} is ${sql.raw(isOver ? 'not null' : 'null')}), 0)`;
  const largest = (what: 'microdollars' | 'tokens') => sql<number>`coalesce(max(${sql.ref(`reserved_${what}`)}), 0)`;
  const rows = await store.db
    .selectFrom('model_calls')
    .select([
      'variation',
      sum('microdollars', true).as('used_microdollars'),
      sum('tokens', true).as('used_tokens'),
      sum('microdollars', false).as('reserved_microdollars'),
      sum('tokens', false).as('reserved_tokens'),
      largest('microdollars').as('largest_reservation_microdollars'),
      largest('tokens').as('largest_reservation_tokens'),
      sql<number>`count(*) filter (where settled = 'assumed')`.as('assumed_calls'),
    ])
    .where('run', '=', runNo)
    .groupBy('variation')
    .execute();
  return new Map(rows.map(({ variation, ...sums }) => [variation, sums]));
}

/** null where there is no limit. */
export function budgetView(text: string | null, parts: readonly BudgetSums[], isOver: boolean): BudgetView | null {
  if (text === null) return null;
  const budget = JSON.parse(text) as Budget;
  const all = parts.reduce<BudgetSums>(
    (sum, part) => ({
      used_microdollars: sum.used_microdollars + part.used_microdollars,
      used_tokens: sum.used_tokens + part.used_tokens,
      reserved_microdollars: sum.reserved_microdollars + part.reserved_microdollars,
      reserved_tokens: sum.reserved_tokens + part.reserved_tokens,
      largest_reservation_microdollars: Math.max(
        sum.largest_reservation_microdollars,
        part.largest_reservation_microdollars,
      ),
      largest_reservation_tokens: Math.max(sum.largest_reservation_tokens, part.largest_reservation_tokens),
      assumed_calls: sum.assumed_calls + part.assumed_calls,
    }),
    nothing,
  );
  const most = budget.max_cost_microdollars ?? null;
  const measured = isOver && all.assumed_calls === 0 && all.reserved_tokens === 0;
  return {
    max_cost_microdollars: most,
    max_tokens: budget.max_tokens ?? null,
    ...all,
    unspent_microdollars: most === null || !measured ? null : Math.max(0, most - all.used_microdollars),
  };
}

/** An account in memory, as the API shows it. */
export function accountView({ limit, used, reserved }: Account): BudgetView {
  return {
    ...nothing,
    max_cost_microdollars: limit.microdollars,
    max_tokens: limit.tokens,
    used_microdollars: used.microdollars,
    used_tokens: used.tokens,
    reserved_microdollars: reserved.microdollars,
    reserved_tokens: reserved.tokens,
    unspent_microdollars: null,
  };
}
