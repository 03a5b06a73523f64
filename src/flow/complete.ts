import type { Gap } from '../contract/api.ts';
import type { AttemptResult, Eof } from '../contract/attempt.ts';
import { now } from '../contract/ids.ts';
import type { AttemptStatus } from '../contract/run.ts';
import { toAppError } from '../errors.ts';
import type { AttemptEnd } from '../runtime/runtime.ts';
import type { NewEvent, Tx } from '../store/store.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { endingOf, isWorthRetrying, takeIn, type Ending } from './finish.ts';
import { moveVariation } from './moves.ts';
import { moveWaiting, turnEnded, waitingPrompts } from './steering/prompts.ts';

/** How long a model call that was cut may take to be booked (ms). */
const BOOKED_WITHIN_MS = 2000;

/** How often a result that could not be looked at is tried, with growing waits. */
const RESULT_TRIES = 6;

/** All that is known of an attempt's end. */
interface Outcome {
  ending: Ending;
  eof: Eof | null;
  result: AttemptResult | null;
  gaps: Gap[];
  complete: boolean;
  /** It never began: it is queued again for nothing, whatever its retries. */
  neverBegan: boolean;
  keep: boolean;
}

/**
 * Writes down an attempt's end, once: its result is taken in and verified, `agent_complete` has the seq of the recorder's last
 * line, and the variation moves in the same transaction (or goes back to the queue for its next attempt).
 *
 * @param tries how often this was begun: what stands in the way of a result may pass, up to a point
 * @returns `keep`: what the attempt left in the runtime stays, its work could not be saved otherwise; `cancelled`: a person
 *   stopped it, and nobody will look at it any more
 */
export async function completeAttempt(
  context: RunningContext,
  attempt: LiveAttempt,
  end: AttemptEnd,
  tries = 1,
): Promise<{ keep: boolean; cancelled: boolean }> {
  // What it used stands in the log before its end.
  await Promise.race([
    Promise.allSettled(attempt.bookings),
    new Promise((resolve) => setTimeout(resolve, BOOKED_WITHIN_MS).unref()),
  ]);
  const outcome = await judge(context, attempt, end, tries < RESULT_TRIES);
  if (outcome === null) return { keep: false, cancelled: true };
  await context.store.write({ within: (tx, emit) => writeEnd(context, attempt, end, outcome, tx, emit) });
  return { keep: outcome.keep, cancelled: outcome.ending.status === 'cancelled' };
}

async function judge(
  context: RunningContext,
  attempt: LiveAttempt,
  end: AttemptEnd,
  isPatient: boolean,
): Promise<Outcome | null> {
  const row = await context.store.db
    .selectFrom('attempts')
    .innerJoin('variations', (join) =>
      join.onRef('variations.run', '=', 'attempts.run').onRef('variations.idx', '=', 'attempts.variation'),
    )
    .innerJoin('runs', 'runs.no', 'attempts.run')
    .select(['attempts.last_seq', 'attempts.gaps', 'variations.stop_reason', 'runs.mirror', 'runs.base', 'runs.id'])
    .where('attempts.no', '=', attempt.attemptNo)
    .executeTakeFirst();
  if (row === undefined) return null;
  const gaps: Gap[] = JSON.parse(row.gaps);
  if (end.kind === 'lost') {
    gaps.push({ from_seq: row.last_seq + 1, to_seq: null, reason: 'the recorder ended without a last word' });
  }
  const [reason, message] =
    end.kind === 'eof' ? [end.eof.reason, end.eof.message] : [end.reason ?? 'lost', end.message];
  const clean = (words: string | null): string | null => (words === null ? null : context.secrets.text(words));
  const outcome: Outcome = {
    ending: endingOf(reason, message, row.stop_reason),
    eof: end.kind === 'eof' ? { ...end.eof, message: clean(end.eof.message) } : null,
    result: null,
    gaps,
    complete: end.kind === 'eof' ? end.complete && gaps.length === 0 : end.kind === 'not_started',
    neverBegan: end.kind === 'not_started' && end.reason === 'lost' && row.stop_reason === null,
    keep: false,
  };
  if (outcome.ending.reason === 'budget_exhausted') {
    const standing = context.budgets.closedFor(attempt.runNo, attempt.variation);
    outcome.ending = { ...outcome.ending, message: standing ?? outcome.ending.message };
  }
  const also = (words: string): void => {
    outcome.ending = { ...outcome.ending, message: `${outcome.ending.message ?? ''} ${words}`.trim() };
  };

  let stated = attempt.result;
  if (stated === null && end.kind === 'lost') {
    try {
      stated = await rescued(context, attempt, row);
    } catch (error) {
      outcome.keep = true;
      also(`Its work could not be saved (${toAppError(error).message}) and stays where it is.`);
    }
  }
  if (stated !== null) {
    try {
      outcome.result = await takeIn(context, row, attempt.attemptId, stated);
    } catch (error) {
      const refusal = toAppError(error);
      // It may not be the result's fault: then this is tried again. What is refused at last stays where it is.
      if (refusal.code === 'disk_full' || (refusal.code !== 'patch_invalid' && isPatient)) throw refusal;
      outcome.keep = true;
      context.telemetry.log.error({ attempt: attempt.attemptId, err: error }, 'the result was refused');
      if (outcome.ending.status === 'succeeded')
        outcome.ending = { status: 'failed', reason: 'result_failed', message: refusal.message };
      else also(`Its result was refused: ${refusal.message}`);
    }
  } else if (outcome.ending.status === 'succeeded') {
    outcome.ending = { status: 'failed', reason: 'result_failed', message: 'The recorder ended without a result.' };
  }
  outcome.ending = { ...outcome.ending, message: clean(outcome.ending.message) };
  return outcome;
}

/** What a lost attempt left in its work tree: a power cut after half an hour must not cost half an hour's work. */
async function rescued(
  context: RunningContext,
  attempt: LiveAttempt,
  run: { mirror: string; base: string },
): Promise<string | null> {
  // Nobody has worked in it: what lies there is what the recorder had made of it when it died, which may be half of what it was to be.
  if (!attempt.speaking) return null;
  const repository = { source: context.mirrors.path(run.mirror), base: run.base };
  const result = await context.runtime.rescue(attempt.attemptId, repository);
  return result === null ? null : JSON.stringify(result);
}

/** The attempt of the variation's result, where that has succeeded; undefined where no result stands yet. */
function standingResult({ store: { db } }: RunningContext, tx: Tx, run: number, variation: number): number | undefined {
  const [standing] = tx.all(
    db
      .selectFrom('variations')
      .innerJoin('attempts', 'attempts.no', 'variations.result_attempt')
      .select('attempts.attempt')
      .where('variations.run', '=', run)
      .where('variations.idx', '=', variation)
      .where('attempts.status', '=', 'succeeded'),
  );
  return standing?.attempt;
}

function writeEnd(
  context: RunningContext,
  attempt: LiveAttempt,
  end: AttemptEnd,
  { ending, eof, result, gaps, complete, neverBegan, keep }: Outcome,
  tx: Tx,
  emit: (event: NewEvent) => void,
): void {
  const { db } = context.store;
  const { runNo, variation: index, attemptNo } = attempt;
  const [variation] = tx.all(
    db
      .selectFrom('variations')
      .select(['retries_left', 'stop_reason'])
      .where('run', '=', runNo)
      .where('idx', '=', index),
  );
  if (variation === undefined) return;
  // The server's own stop at the time limit is the recorder's, only later.
  const isFree = variation.stop_reason === null || variation.stop_reason === 'timeout';
  const retried =
    neverBegan ||
    (ending.status === 'failed' &&
      variation.retries_left > 0 &&
      isFree &&
      isWorthRetrying(ending.reason) &&
      context.budgets.closedFor(runNo, index) === null);
  const goesOn =
    !retried &&
    result !== null &&
    variation.stop_reason === null &&
    turnEnded(ending.reason) &&
    tx.all(waitingPrompts(db, runNo, index).limit(1)).length > 0 &&
    context.budgets.closedFor(runNo, index) === null;
  const status: AttemptStatus = end.kind === 'lost' && ending.reason === 'lost' ? 'lost' : ending.status;
  const at = now();
  // What succeeded before is what counts, unless this has succeeded, too.
  const standing = ending.status === 'succeeded' ? undefined : standingResult(context, tx, runNo, index);
  const stands = standing === undefined ? '' : ` The result of attempt ${standing} stays what can be chosen.`;
  const message = `${ending.message ?? ''}${stands}`.trim() || null;
  const patch = {
    status,
    end_reason: ending.reason,
    message,
    ended_at: at,
    eof: eof === null ? null : JSON.stringify(eof),
    ...(eof === null ? {} : { last_seq: eof.lastSeq }),
    log_complete: complete ? 1 : 0,
    gaps: JSON.stringify(gaps),
    keep: keep ? (1 as const) : (0 as const),
  };
  tx.run(db.updateTable('attempts').set(patch).where('no', '=', attemptNo));
  if (result !== null) {
    const row = {
      attempt: attemptNo,
      tree: result.tree,
      patch_bytes: result.patch_bytes,
      files: result.files.length,
      additions: result.additions,
      deletions: result.deletions,
      data: JSON.stringify(result),
    };
    tx.run(db.insertInto('results').values(row));
    if (standing === undefined) {
      tx.run(
        db
          .updateTable('variations')
          .set({ result_attempt: attemptNo })
          .where('run', '=', runNo)
          .where('idx', '=', index),
      );
    }
  }
  emit({
    run: runNo,
    variation: index,
    attempt: attemptNo,
    seq: eof?.lastSeq ?? null,
    span: 1,
    type: 'agent_complete',
    data: JSON.stringify({
      run_id: attempt.runId,
      variation_id: index,
      attempt: attempt.attempt,
      attempt_id: attempt.attemptId,
      seq: eof?.lastSeq ?? null,
      timestamp: at,
      status: ending.status,
      end_reason: ending.reason,
      content: message,
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
      retried,
    }),
  });
  const [newest] = tx.all(
    db
      .selectFrom('attempts')
      .select(({ fn }) => fn.max<number>('no').as('no'))
      .where('run', '=', runNo)
      .where('variation', '=', index),
  );
  // A later attempt speaks for the variation: this one's end is in the log, and changes nothing.
  if (newest?.no !== attemptNo) return;
  // What never began has not worked for a moment.
  if (end.kind === 'not_started')
    tx.run(db.updateTable('variations').set({ started_at: null }).where('run', '=', runNo).where('idx', '=', index));
  moveVariation(db, tx, emit, runNo, index, (moves) => {
    moves.variation(ending.status, { reason: ending.reason, message });
    if (goesOn) {
      // Told while it was ending: too late for its session, and not lost.
      tx.run(
        db.updateTable('variations').set({ start_from: attemptNo }).where('run', '=', runNo).where('idx', '=', index),
      );
      moveWaiting(db, tx, runNo, index, attemptNo);
      moves.variation('queued');
    }
    if (!retried) return;
    tx.run(
      db
        .updateTable('variations')
        .set({ retries_left: variation.retries_left - (neverBegan ? 0 : 1) })
        .where('run', '=', runNo)
        .where('idx', '=', index),
    );
    moves.variation('queued');
  });
}
