import { now } from '../contract/ids.ts';
import type { ModelCall } from '../gateway/gateway.ts';
import type { AttemptCaller, Context } from './context.ts';
import { serverEvent } from './moves.ts';

/** Books a model call on its attempt: a row for the sums, and an event, in one transaction. */
export async function bookCall(context: Context, caller: AttemptCaller, call: ModelCall): Promise<void> {
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
  await context.store.write({
    within: (tx) =>
      void tx.run(
        db.insertInto('model_calls').values({
          run: caller.runNo,
          variation: caller.variation,
          attempt: caller.attemptNo,
          at: call.at,
          provider: call.provider,
          model: call.model,
          dialect: call.dialect,
          status: call.status,
          error: call.error,
          ...numbers,
        }),
      ),
    events: [
      serverEvent(caller.runNo, caller.variation, 'model_usage', {
        run_id: caller.runId,
        variation_id: caller.variation,
        attempt: caller.attempt,
        attempt_id: caller.attemptId,
        timestamp: now(),
        model: call.model,
        status: call.status,
        ...numbers,
        error: call.error,
      }),
    ],
  });
  context.telemetry.metrics.modelCall(call);
}
