import type { Gap } from '../contract/api.ts';
import type { AttemptResult, Eof } from '../contract/attempt.ts';
import { now } from '../contract/ids.ts';
import type { AttemptStatus } from '../contract/run.ts';
import { toAppError } from '../errors.ts';
import type { AttemptEnd } from '../runtime/runtime.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { endingOf, isWorthRetrying, takeIn, type Ending } from './finish.ts';
import { moveVariation } from './moves.ts';

/**
 * Writes down an attempt's end, once: its result is taken in and verified, `agent_complete` has the seq of the recorder's last
 * line, and the variation moves in the same transaction (or goes back to the queue for its next attempt).
 */
export async function completeAttempt(context: RunningContext, attempt: LiveAttempt, end: AttemptEnd): Promise<void> {
  const { store, telemetry } = context;
  const { db } = store;
  const [row] = await db
    .selectFrom('attempts')
    .innerJoin('variations', (join) =>
      join.onRef('variations.run', '=', 'attempts.run').onRef('variations.idx', '=', 'attempts.variation'),
    )
    .innerJoin('runs', 'runs.no', 'attempts.run')
    .select(['attempts.last_seq', 'attempts.gaps', 'variations.stop_reason', 'runs.mirror', 'runs.base', 'runs.id'])
    .where('attempts.no', '=', attempt.attemptNo)
    .execute();
  if (row === undefined) return;
  const gaps: Gap[] = JSON.parse(row.gaps);
  const eof: Eof | null = end.kind === 'eof' ? end.eof : null;
  let ending: Ending;
  switch (end.kind) {
    case 'eof':
      ending = endingOf(end.eof.reason, end.eof.message, row.stop_reason);
      break;
    case 'not_started':
      ending = endingOf(end.reason, end.message, row.stop_reason);
      break;
    case 'lost':
      ending = endingOf('lost', end.message, null);
      gaps.push({ from_seq: row.last_seq + 1, to_seq: null, reason: 'the recorder ended without a last word' });
  }

  let result: AttemptResult | null = null;
  const stated = attempt.result ?? (end.kind === 'lost' ? await rescued(context, attempt, row) : null);
  if (stated !== null) {
    try {
      result = await takeIn(context, row, attempt.attemptId, stated);
    } catch (error) {
      const { message } = toAppError(error);
      telemetry.log.error({ attempt: attempt.attemptId, err: error }, 'the result was refused');
      ending =
        ending.status === 'succeeded'
          ? { status: 'failed', reason: 'result_failed', message }
          : { ...ending, message: `${ending.message ?? ''} Its result was refused: ${message}`.trim() };
    }
  } else if (ending.status === 'succeeded') {
    ending = { status: 'failed', reason: 'result_failed', message: 'The recorder ended without a result.' };
  }
  const complete = end.kind === 'eof' ? end.complete && gaps.length === 0 : end.kind === 'not_started';
  const at = now();

  await store.write({
    within: (tx, emit) => {
      const [variation] = tx.all(
        db
          .selectFrom('variations')
          .select(['retries_left', 'stop_reason'])
          .where('run', '=', attempt.runNo)
          .where('idx', '=', attempt.variation),
      );
      // It never began: it is queued again for nothing, whatever its retries.
      const neverBegan = end.kind === 'not_started' && ending.reason === 'lost' && variation?.stop_reason === null;
      const again =
        neverBegan ||
        (ending.status === 'failed' &&
          variation !== undefined &&
          variation.retries_left > 0 &&
          variation.stop_reason === null &&
          isWorthRetrying(ending.reason));
      const status: AttemptStatus = end.kind === 'lost' ? 'lost' : ending.status;
      tx.run(
        db
          .updateTable('attempts')
          .set({
            status,
            end_reason: ending.reason,
            message: ending.message,
            ended_at: at,
            eof: eof === null ? null : JSON.stringify(eof),
            last_seq: eof?.lastSeq ?? row.last_seq,
            log_complete: complete ? 1 : 0,
            gaps: JSON.stringify(gaps),
          })
          .where('no', '=', attempt.attemptNo),
      );
      if (result !== null) {
        tx.run(
          db
            .updateTable('variations')
            .set({ result: JSON.stringify(result) })
            .where('run', '=', attempt.runNo)
            .where('idx', '=', attempt.variation),
        );
      }
      emit({
        run: attempt.runNo,
        variation: attempt.variation,
        attempt: attempt.attemptNo,
        seq: eof?.lastSeq ?? null,
        span: 1,
        type: 'agent_complete',
        data: JSON.stringify({
          run_id: attempt.runId,
          variation_id: attempt.variation,
          attempt: attempt.attempt,
          attempt_id: attempt.attemptId,
          seq: eof?.lastSeq ?? null,
          timestamp: at,
          status: ending.status,
          end_reason: ending.reason,
          content: ending.message,
          exit: eof?.exit ?? null,
          log_complete: complete,
          gaps,
          timings: eof?.timings ?? null,
          result:
            result === null
              ? null
              : {
                  files: result.files.length,
                  additions: result.additions,
                  deletions: result.deletions,
                  patch_bytes: result.patch_bytes,
                  patch_sha256: result.patch_sha256,
                },
          retried: again,
        }),
      });
      moveVariation(db, tx, emit, attempt.runNo, attempt.variation, (moves) => {
        moves.variation(ending.status, { reason: ending.reason, message: ending.message });
        if (again) {
          tx.run(
            db
              .updateTable('variations')
              .set({ retries_left: variation.retries_left - (neverBegan ? 0 : 1) })
              .where('run', '=', attempt.runNo)
              .where('idx', '=', attempt.variation),
          );
          moves.variation('queued');
        }
      });
    },
  });
}

/** What a lost attempt left in its work tree: a power cut after half an hour must not cost half an hour's work. */
async function rescued(
  context: RunningContext,
  attempt: LiveAttempt,
  run: { mirror: string; base: string },
): Promise<string | null> {
  const result = await context.runtime.rescue(attempt.attemptId, {
    source: context.mirrors.path(run.mirror),
    base: run.base,
  });
  return result === null ? null : JSON.stringify(result);
}
