import type { Budget } from '../../contract/budget.ts';
import { now } from '../../contract/ids.ts';
import type { Config } from '../../config.ts';
import type { Claim } from '../../gateway/gateway.ts';
import type { NewEvent, Store, Tx } from '../../store/store.ts';
import type { Telemetry } from '../../telemetry.ts';
import type { AttemptCaller } from '../context.ts';
import { serverEvent } from '../moves.ts';
import {
  BudgetRefusal,
  createLedger,
  openAccount,
  type Account,
  type Amount,
  type Reservation,
  type Settled,
} from './ledger.ts';
import { faultOf, standingOf } from './words.ts';

/** Budgets as the flow has them: accounts opened from what is stored, and what follows when one is used up. */

/** A call's claim, set aside. */
export interface SetAside {
  reservation: Reservation;
  /** The UTC day on which it counts. */
  day: string;
}

export interface BudgetListener {
  /** An account has come to 80 per cent: nothing new is to be started on it. `run` null = of no run at all. */
  closed(run: number | null): void;
  /** A call of this variation was refused for good. */
  exhausted(run: number, variation: number): void;
}

export interface Budgets {
  /**
   * Sets aside the most that a call can use. Errors: CallFault (402 budget_exhausted or price_unknown, 429 budget_reserved); the
   * signal's reason.
   *
   * @param onWait called once if it has to wait for room
   */
  reserve(caller: AttemptCaller, claim: Claim, signal: AbortSignal, onWait?: () => void): Promise<SetAside>;
  /** Puts what it used in the place of that; the events tell of accounts that came to another level. */
  settle(
    caller: AttemptCaller,
    aside: SetAside,
    used: { microdollars: number | null; tokens: number | null },
  ): Settled & { events: NewEvent[] };
  /** A call was refused for good, and its agent knows: its attempt is to end. */
  refused(caller: AttemptCaller): void;
  /** Why nothing new may be started for this variation (null: in this run; none at all: anywhere); null where it may. */
  closedFor(run?: number, variation?: number | null): string | null;
  /** Today's account, where the day has a limit. */
  today(): Account | null;
  listen(listener: BudgetListener): void;
  /** Nothing of a run is under way any more: its accounts are opened anew when they are needed. */
  drop(run: number): void;
}

/** How long a call waits for room: harnesses give up after five minutes without a first byte. */
const PATIENCE_MS = 120_000;

interface RunAccounts {
  run: Account;
  variations: Map<number, Account>;
}

export function createBudgets(
  { store, config, telemetry }: { store: Store; config: Pick<Config, 'budget'>; telemetry: Telemetry },
  { patienceMs = PATIENCE_MS, today = () => now().slice(0, 10) } = {},
): Budgets {
  const { db } = store;
  const { metrics } = telemetry;
  const ledger = createLedger(patienceMs);
  const runs = new Map<number, RunAccounts>();
  const listeners: BudgetListener[] = [];
  let day: { name: string; account: Account } | null = null;

  function accountsOf(run: number): RunAccounts | null {
    const known = runs.get(run);
    if (known !== undefined) return known;
    const [row] = store.query(db.selectFrom('runs').select('budget').where('no', '=', run));
    if (row === undefined) return null;
    const sums = store.query(
      db
        .selectFrom('model_calls')
        .select((e) => [
          'variation',
          e.fn.sum<number>('charged_microdollars').as('microdollars'),
          e.fn.sum<number>('charged_tokens').as('tokens'),
        ])
        .where('run', '=', run)
        .groupBy('variation'),
    );
    const own = store.query(db.selectFrom('variations').select(['idx', 'budget']).where('run', '=', run));
    const total = sums.reduce<Amount>(
      (all, each) => ({ microdollars: all.microdollars + each.microdollars, tokens: all.tokens + each.tokens }),
      { microdollars: 0, tokens: 0 },
    );
    const opened: RunAccounts = {
      run: openAccount('run', limitOf(row.budget), total),
      variations: new Map(
        own.map(({ idx, budget }) => {
          const used = sums.find((sum) => sum.variation === idx) ?? { microdollars: 0, tokens: 0 };
          return [idx, openAccount('variation', limitOf(budget), used)];
        }),
      ),
    };
    runs.set(run, opened);
    return opened;
  }

  /** One that was made after the run's accounts were opened has used nothing. */
  function accountOf(own: RunAccounts | null, run: number, variation: number): Account | undefined {
    const known = own?.variations.get(variation);
    if (own === null || known !== undefined) return known;
    const [row] = store.query(
      db.selectFrom('variations').select('budget').where('run', '=', run).where('idx', '=', variation),
    );
    if (row === undefined) return undefined;
    const account = openAccount('variation', limitOf(row.budget), { microdollars: 0, tokens: 0 });
    own.variations.set(variation, account);
    return account;
  }

  function dayAccount(): { name: string; account: Account } {
    const name = today();
    if (day?.name === name) return day;
    const [row] = store.query(db.selectFrom('budget_days').select(['microdollars', 'tokens']).where('day', '=', name));
    const limit = config.budget.day;
    const account = openAccount('day', asLimit(limit), row ?? { microdollars: 0, tokens: 0 });
    day = { name, account };
    return day;
  }

  const limited = ({ limit }: Account): boolean => limit.microdollars !== null || limit.tokens !== null;

  return {
    async reserve(caller, claim, signal, onWait) {
      const { runNo, variation, attemptId } = caller;
      const own = accountsOf(runNo);
      const { name, account } = dayAccount();
      const accounts = [accountOf(own, runNo, variation), own?.run, account].filter(
        (each): each is Account => each !== undefined && limited(each),
      );
      const [provider = ''] = claim.model.split('/', 1);
      let waits = false;
      try {
        const reservation = await ledger.reserve(
          accounts,
          { microdollars: claim.microdollars, tokens: claim.tokens },
          {
            who: attemptId,
            signal,
            onWait: () => {
              waits = true;
              onWait?.();
              metrics.modelCallsWaiting({ provider, why: 'budget' }, 1);
            },
          },
        );
        return { reservation, day: name };
      } catch (error) {
        if (!(error instanceof BudgetRefusal)) throw error;
        metrics.budgetRefused(error.account.scope);
        throw faultOf(error, claim.model);
      } finally {
        if (waits) metrics.modelCallsWaiting({ provider, why: 'budget' }, -1);
      }
    },
    settle(caller, { reservation }, used) {
      const settled = ledger.settle(reservation, used);
      for (const account of settled.crossed) {
        const run = account.scope === 'day' ? null : caller.runNo;
        for (const listener of listeners) listener.closed(run);
      }
      if (day !== null) metrics.budgetDay(day.account);
      return { ...settled, events: settled.crossed.map((account) => crossing(caller, account)) };
    },
    refused({ runNo, variation }) {
      for (const listener of listeners) listener.exhausted(runNo, variation);
    },
    closedFor(run, variation) {
      const { account } = dayAccount();
      const own = run === undefined ? null : accountsOf(run);
      const mine = variation == null || run === undefined ? undefined : accountOf(own, run, variation);
      const full = [account, own?.run, mine].find((each) => each !== undefined && each.level >= 80);
      return full === undefined ? null : standingOf(full);
    },
    today: () => {
      const { account } = dayAccount();
      return limited(account) ? account : null;
    },
    listen: (listener) => void listeners.push(listener),
    drop(run) {
      const accounts = runs.get(run);
      if (accounts === undefined) return;
      // What is reserved is given back on these very accounts.
      const busy = [accounts.run, ...accounts.variations.values()].some(({ reserved }) => reserved.tokens > 0);
      if (!busy) runs.delete(run);
    },
  };
}

/** An account has come to another level, for the log of the run whose call brought it there. */
function crossing({ runNo, runId, variation }: AttemptCaller, account: Account): NewEvent {
  const { scope, limit, used, level } = account;
  const index = scope === 'variation' ? variation : null;
  return serverEvent(runNo, index, 'budget', {
    run_id: runId,
    variation_id: index,
    timestamp: now(),
    scope,
    level,
    max_cost_microdollars: limit.microdollars,
    max_tokens: limit.tokens,
    used_microdollars: used.microdollars,
    used_tokens: used.tokens,
    content: `${standingOf(account)} ${level === 100 ? 'No more model calls are made.' : 'Nothing new is started.'}`,
  });
}

/** Adds to a day what calls count with; `change` may be negative. */
export function countOnDay(store: Store, tx: Tx, day: string, change: Amount): void {
  tx.run(
    store.db
      .insertInto('budget_days')
      .values({ day, ...change })
      .onConflict((conflict) =>
        conflict.column('day').doUpdateSet((e) => ({
          microdollars: e('budget_days.microdollars', '+', change.microdollars),
          tokens: e('budget_days.tokens', '+', change.tokens),
        })),
      ),
  );
}

function limitOf(budget: string | null): Account['limit'] {
  return asLimit(budget === null ? undefined : (JSON.parse(budget) as Budget));
}

function asLimit(budget: Budget | undefined): Account['limit'] {
  return { microdollars: budget?.max_cost_microdollars ?? null, tokens: budget?.max_tokens ?? null };
}
