import { now } from '../contract/ids.ts';
import type { Booking, Claim, ModelCall } from '../gateway/gateway.ts';
import { providerPart } from '../gateway/target.ts';
import { countOnDay, type SetAside } from './budget/budgets.ts';
import type { AttemptCaller, Context, LiveAttempt } from './context.ts';
import { serverEvent } from './moves.ts';

/** The status of a call that is under way, or was when its server died: then nobody knows what it used. */
export const UNDER_WAY = 0;

/** A call of which its provider has said nothing. */
const unmeasured = {
  status: UNDER_WAY,
  input_tokens: null,
  output_tokens: null,
  cache_read_tokens: null,
  cache_write_tokens: null,
  cost_microdollars: null,
  duration_ms: 0,
} as const;

/** So many different refusals of one attempt are told; an agent that goes on trying fills no log. */
const MOST_NOTES = 20;

type Books = Pick<Context, 'store' | 'telemetry' | 'budgets'>;
type Called = AttemptCaller & Pick<LiveAttempt, 'bookings' | 'noted'>;

/** A call that was written down, and what was set aside for it. */
interface Booked extends SetAside {
  no: number;
}

/**
 * The booking of one model call. A call is written down before it is made, with the most that it can use: should the server die
 * in the middle, that is what it counts with. One that is refused before is no call, but the log says why.
 */
export function bookCall(context: Books, caller: Called): Booking {
  let booked: Booked | null = null;

  const keep = (writing: Promise<void>): void => {
    const kept = writing
      .catch((error: unknown) =>
        context.telemetry.log.error({ err: error, attempt: caller.attemptId }, 'a model call could not be settled'),
      )
      .finally(() => caller.bookings.delete(kept));
    caller.bookings.add(kept);
  };

  return {
    async reserve(claim, signal) {
      const aside = await context.budgets.reserve(caller, claim, signal, () => {
        const words = 'A model call waits: the budget is set aside for others that are under way.';
        keep(noteCall(context, caller, 'agent_output', words, { code: 'budget_waiting' }));
      });
      try {
        booked = { ...aside, no: await insertCall(context, caller, claim, aside.day) };
      } catch (error) {
        context.budgets.settle(caller, aside, { microdollars: 0, tokens: 0 });
        throw error;
      }
    },
    note: (content, facts) => keep(noteCall(context, caller, 'agent_output', content, facts)),
    settle(call) {
      context.telemetry.metrics.modelCall(call);
      if (booked !== null) keep(settleCall(context, caller, booked, call));
      else if (call.error !== null) refuse(call.error, call);
    },
  };

  function refuse(error: string, { code, status, model }: ModelCall): void {
    if (code === 'budget_exhausted' || code === 'price_unknown') context.budgets.refused(caller);
    const words = `A model call was refused: ${error}`;
    if (caller.noted.has(words) || caller.noted.size >= MOST_NOTES) return;
    caller.noted.add(words);
    keep(noteCall(context, caller, 'agent_error', words, { code: code ?? 'provider_error', status, model }));
  }
}

async function insertCall(context: Books, caller: Called, claim: Claim, day: string): Promise<number> {
  const { store } = context;
  const { db } = store;
  const charged = { microdollars: claim.microdollars ?? 0, tokens: claim.tokens };
  return store.write({
    within: (tx) => {
      countOnDay(store, tx, day, charged);
      return tx.run(
        db.insertInto('model_calls').values({
          run: caller.runNo,
          variation: caller.variation,
          attempt: caller.attemptNo,
          at: now(),
          provider: providerPart(claim.model),
          model: claim.model,
          dialect: claim.dialect,
          ...unmeasured,
          error: null,
          reserved_microdollars: claim.microdollars,
          reserved_tokens: claim.tokens,
          charged_microdollars: charged.microdollars,
          charged_tokens: charged.tokens,
          settled: null,
        }),
      ).lastInsertRowid;
    },
  });
}

/** Settles a booking with what the call used: the row for the sums, and an event, in one transaction. */
async function settleCall(context: Books, caller: Called, booked: Booked, call: ModelCall): Promise<void> {
  const { store, budgets, telemetry } = context;
  const { db } = store;
  const { no, reservation, day } = booked;
  const { tokens } = call;
  const numbers = {
    input_tokens: tokens.input,
    output_tokens: tokens.output,
    cache_read_tokens: tokens.cacheRead,
    cache_write_tokens: tokens.cacheWrite,
    cost_microdollars: call.costMicrodollars,
    duration_ms: Math.round(call.durationMs),
  };
  const { provider, model, dialect, status, error, waitedMs } = call;
  const { charged, assumed, exceeded, events } = budgets.settle(caller, booked, usedBy(call));
  if (exceeded)
    telemetry.log.warn({ attempt: caller.attemptId, model, charged, claim: reservation.claim }, 'a call used too much');
  const settled = {
    charged_microdollars: charged.microdollars,
    charged_tokens: charged.tokens,
    settled: assumed ? ('assumed' as const) : ('measured' as const),
  };
  await store.write({
    within: (tx) => {
      tx.run(
        db
          .updateTable('model_calls')
          .set({ provider, model, dialect, status, error, ...numbers, ...settled })
          .where('no', '=', no),
      );
      countOnDay(store, tx, day, {
        microdollars: charged.microdollars - (reservation.claim.microdollars ?? 0),
        tokens: charged.tokens - reservation.claim.tokens,
      });
    },
    events: [
      serverEvent(caller.runNo, caller.variation, 'model_usage', {
        ...whose(caller),
        model,
        status,
        ...numbers,
        ...(waitedMs > 0 ? { waited_ms: waitedMs } : {}),
        // Nobody measured it: it counts with all that was set aside for it.
        ...(assumed ? { assumed, ...chargedAs(charged) } : {}),
        // It used more than the most it was asked for.
        ...(exceeded ? { exceeded } : {}),
        error,
      }),
      ...events,
    ],
  });
}

function chargedAs({ microdollars, tokens }: { microdollars: number; tokens: number }): object {
  return { charged_microdollars: microdollars, charged_tokens: tokens };
}

/** What a call counts with; null = nobody knows. An answer to a request of no tokens is a count that is wrong. */
function usedBy({ tokens, costMicrodollars, status, error }: ModelCall): {
  microdollars: number | null;
  tokens: number | null;
} {
  const { input, output, cacheRead, cacheWrite } = tokens;
  const heard = input === null ? null : input + (cacheRead ?? 0) + (cacheWrite ?? 0);
  if (heard === null || output === null) return { microdollars: costMicrodollars, tokens: null };
  if (heard === 0 && status < 400 && error === null) return { microdollars: null, tokens: null };
  return { microdollars: costMicrodollars, tokens: heard + output };
}

/**
 * After a start: calls that were under way when the last server died. Nobody will ever measure them, so they count with all that
 * was set aside for them, and the log of each says so.
 */
export async function settleAbandoned(context: Books): Promise<number> {
  const { db } = context.store;
  const open = await db
    .selectFrom('model_calls')
    .innerJoin('runs', 'runs.no', 'model_calls.run')
    .innerJoin('attempts', 'attempts.no', 'model_calls.attempt')
    .select(['model_calls.no', 'model_calls.run', 'model_calls.variation', 'model_calls.model', 'runs.id as runId'])
    .select(['attempts.id as attemptId', 'attempts.attempt'])
    .select(['model_calls.charged_microdollars', 'model_calls.charged_tokens'])
    .where('model_calls.settled', 'is', null)
    .execute();
  if (open.length === 0) return 0;
  await context.store.write({
    within: (tx) => void tx.run(db.updateTable('model_calls').set({ settled: 'assumed' }).where('settled', 'is', null)),
    events: open.map((row) =>
      serverEvent(row.run, row.variation, 'model_usage', {
        run_id: row.runId,
        variation_id: row.variation,
        attempt: row.attempt,
        attempt_id: row.attemptId,
        timestamp: now(),
        model: row.model,
        ...unmeasured,
        assumed: true,
        charged_microdollars: row.charged_microdollars,
        charged_tokens: row.charged_tokens,
        error: 'The server died in the middle of the call.',
      }),
    ),
  });
  return open.length;
}

async function noteCall(
  context: Books,
  caller: Called,
  type: 'agent_output' | 'agent_error',
  content: string,
  facts: object,
): Promise<void> {
  const data = { ...whose(caller), seq: null, kind: 'note', content, message: facts };
  await context.store.write({ events: [serverEvent(caller.runNo, caller.variation, type, data)] });
}

function whose(caller: Called): object {
  const { runId, variation, attempt, attemptId } = caller;
  return { run_id: runId, variation_id: variation, attempt, attempt_id: attemptId, timestamp: now() };
}
