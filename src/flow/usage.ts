import { now } from '../contract/ids.ts';
import type { Booking, Claim, ModelCall } from '../gateway/gateway.ts';
import { providerPart } from '../gateway/target.ts';
import type { Context, LiveAttempt } from './context.ts';
import { serverEvent } from './moves.ts';

/** The status of a call that is under way, or was when its server died: then nobody knows what it used. */
export const UNDER_WAY = 0;

/** So many different refusals of one attempt are told; an agent that goes on trying fills no log. */
const MOST_NOTES = 20;

type Called = Pick<
  LiveAttempt,
  'runNo' | 'runId' | 'variation' | 'attempt' | 'attemptId' | 'attemptNo' | 'bookings' | 'noted'
>;

/**
 * The booking of one model call. A call is written down before it is made: should the server die in the middle, the sums know
 * that they do not know. One that is refused before is no call, but the log says why.
 */
export function bookCall(context: Context, caller: Called): Booking {
  let no: number | null = null;

  const keep = (writing: Promise<void>): void => {
    const kept = writing
      .catch((error: unknown) =>
        context.telemetry.log.error({ err: error, attempt: caller.attemptId }, 'a model call could not be settled'),
      )
      .finally(() => caller.bookings.delete(kept));
    caller.bookings.add(kept);
  };

  return {
    async reserve(claim) {
      no = await insertCall(context, caller, claim);
    },
    note: (content, facts) => keep(noteCall(context, caller, 'agent_output', content, facts)),
    settle(call) {
      context.telemetry.metrics.modelCall(call);
      if (no !== null) keep(settleCall(context, caller, no, call));
      else if (call.error !== null) refuse(call.error, call);
    },
  };

  function refuse(error: string, { code, status, model }: ModelCall): void {
    const words = `A model call was refused: ${error}`;
    if (caller.noted.has(words) || caller.noted.size >= MOST_NOTES) return;
    caller.noted.add(words);
    keep(noteCall(context, caller, 'agent_error', words, { code: code ?? 'provider_error', status, model }));
  }
}

async function insertCall(context: Context, caller: Called, claim: Claim): Promise<number> {
  const { db } = context.store;
  return context.store.write({
    within: (tx) =>
      tx.run(
        db.insertInto('model_calls').values({
          run: caller.runNo,
          variation: caller.variation,
          attempt: caller.attemptNo,
          at: now(),
          provider: providerPart(claim.model),
          model: claim.model,
          dialect: claim.dialect,
          status: UNDER_WAY,
          input_tokens: null,
          output_tokens: null,
          cache_read_tokens: null,
          cache_write_tokens: null,
          cost_microdollars: null,
          duration_ms: 0,
          error: null,
        }),
      ).lastInsertRowid,
  });
}

/** Settles a booking with what the call used: the row for the sums, and an event, in one transaction. */
async function settleCall(context: Context, caller: Called, no: number, call: ModelCall): Promise<void> {
  const { db } = context.store;
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
  await context.store.write({
    within: (tx) =>
      void tx.run(
        db
          .updateTable('model_calls')
          .set({ provider, model, dialect, status, error, ...numbers })
          .where('no', '=', no),
      ),
    events: [
      serverEvent(caller.runNo, caller.variation, 'model_usage', {
        ...whose(caller),
        model,
        status,
        ...numbers,
        ...(waitedMs > 0 ? { waited_ms: waitedMs } : {}),
        error,
      }),
    ],
  });
}

async function noteCall(
  context: Context,
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
