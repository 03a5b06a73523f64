import { now } from '../contract/ids.ts';
import type { ModelCall } from '../gateway/gateway.ts';
import type { AttemptCaller, Context } from './context.ts';
import { serverEvent } from './moves.ts';

/** The status of a call that is under way, or was when its server died: then nobody knows what it used. */
export const UNDER_WAY = 0;

/**
 * Books a model call before it is made: should the server die in the middle, the sums know that they do not know.
 *
 * @returns the booking's number
 */
export async function bookCall(context: Context, caller: AttemptCaller): Promise<number> {
  const { db } = context.store;
  const [provider = ''] = caller.model.split('/');
  return context.store.write({
    within: (tx) =>
      tx.run(
        db.insertInto('model_calls').values({
          run: caller.runNo,
          variation: caller.variation,
          attempt: caller.attemptNo,
          at: now(),
          provider,
          model: caller.model,
          dialect: '',
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
export async function settleCall(context: Context, caller: AttemptCaller, no: number, call: ModelCall): Promise<void> {
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
  const { provider, model, dialect, status, error } = call;
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
        run_id: caller.runId,
        variation_id: caller.variation,
        attempt: caller.attempt,
        attempt_id: caller.attemptId,
        timestamp: now(),
        model,
        status,
        ...numbers,
        error,
      }),
    ],
  });
  context.telemetry.metrics.modelCall(call);
}
