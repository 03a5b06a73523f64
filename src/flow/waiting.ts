import { now } from '../contract/ids.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { serverEvent } from './moves.ts';

/** Writes down why an attempt has not begun: people see it in the stream, and on the attempt for as long as it is so. */
export async function noteWaiting(
  context: RunningContext,
  attempt: LiveAttempt,
  { reason, message: said }: { reason: string; message: string },
): Promise<void> {
  const { db } = context.store;
  const since = now();
  const message = context.secrets.text(said);
  await context.store.write({
    within: (tx, emit) => {
      tx.run(
        db
          .updateTable('attempts')
          .set({ waiting: JSON.stringify({ reason, message, since }) })
          .where('no', '=', attempt.attemptNo)
          .where('status', '=', 'starting'),
      );
      emit(
        serverEvent(attempt.runNo, attempt.variation, 'agent_output', {
          run_id: attempt.runId,
          variation_id: attempt.variation,
          attempt: attempt.attempt,
          attempt_id: attempt.attemptId,
          seq: null,
          timestamp: since,
          kind: 'note',
          content: `Waiting to start: ${message}`,
          message: { code: 'waiting', reason },
        }),
      );
    },
  });
}
