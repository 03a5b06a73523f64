import type { Kysely } from 'kysely';
import { now } from '../contract/ids.ts';
import {
  deriveRunStatus,
  isTerminal,
  mayMove,
  type EndReason,
  type RunStatus,
  type VariationStatus,
} from '../contract/run.ts';
import type { Schema } from '../store/schema.ts';
import type { NewEvent, Tx } from '../store/store.ts';
import { dropWaiting, giveAgain } from './steering/prompts.ts';

/** Moves between states, each with its event, inside the transaction that also stores what caused it. */

/** An event of the server's own: of a run, or of one of its variations. */
export function serverEvent(run: number, variation: number | null, type: NewEvent['type'], data: object): NewEvent {
  return { run, variation, attempt: null, seq: null, span: 1, type, data: JSON.stringify(data) };
}

export interface Moves {
  /**
   * Moves a variation. Returns false, and changes nothing, where the move is not allowed from where it is (somebody else
   * was first).
   */
  variation(to: VariationStatus, how?: { reason?: EndReason; message?: string | null }): boolean;
}

/**
 * Runs `change` for one variation and then brings the run's own status in line, once: a failed variation that is queued
 * again in the same change does not end its run in between.
 */
export function moveVariation(
  db: Kysely<Schema>,
  tx: Tx,
  emit: (event: NewEvent) => void,
  runNo: number,
  index: number,
  change: (moves: Moves) => void,
): void {
  change({
    variation: (to, how = {}) => {
      const [row] = tx.all(
        db
          .selectFrom('variations')
          .select(['status', 'started_at', 'result_attempt'])
          .where('run', '=', runNo)
          .where('idx', '=', index),
      );
      if (row === undefined || !mayMove(row.status, to)) return false;
      const at = now();
      const patch = {
        status: to,
        ...(to === 'queued'
          ? {
              queued_at: at,
              started_at: null,
              ended_at: null,
              stop_reason: null,
              // What succeeded stays its result until the next attempt has succeeded, too.
              ...(hasSucceeded(db, tx, row.result_attempt) ? {} : { result_attempt: null }),
            }
          : {}),
        ...(to === 'starting' ? { started_at: at, end_reason: null, message: null } : {}),
        // Where it had to wait for a pod, its working clock had not begun: see start.ts.
        ...(to === 'running' && row.started_at === null ? { started_at: at } : {}),
        ...(isTerminal(to) ? { ended_at: at, end_reason: how.reason ?? null, message: how.message ?? null } : {}),
      };
      if (to === 'queued') giveAgain(db, tx, runNo, index);
      tx.run(db.updateTable('variations').set(patch).where('run', '=', runNo).where('idx', '=', index));
      const [run] = tx.all(db.selectFrom('runs').select('id').where('no', '=', runNo));
      emit(
        serverEvent(runNo, index, 'variation_status', {
          run_id: run?.id,
          variation_id: index,
          timestamp: at,
          status: to,
          previous: row.status,
          ...(isTerminal(to) ? { end_reason: how.reason ?? null, content: how.message ?? null } : {}),
        }),
      );
      return true;
    },
  });
  const [left] = tx.all(
    db
      .selectFrom('variations')
      .innerJoin('runs', 'runs.no', 'variations.run')
      .select(['variations.status', 'variations.end_reason', 'runs.id'])
      .where('variations.run', '=', runNo)
      .where('variations.idx', '=', index),
  );
  if (left !== undefined && isTerminal(left.status))
    dropWaiting(db, tx, emit, { run: runNo, runId: left.id, idx: index, endReason: left.end_reason });
  settleRun(db, tx, emit, runNo);
}

function hasSucceeded(db: Kysely<Schema>, tx: Tx, attempt: number | null): boolean {
  if (attempt === null) return false;
  return tx.all(db.selectFrom('attempts').select('status').where('no', '=', attempt))[0]?.status === 'succeeded';
}

/** Derives the run's status anew; says so where it changed, and `run_complete` where it is over. */
export function settleRun(db: Kysely<Schema>, tx: Tx, emit: (event: NewEvent) => void, runNo: number): void {
  const [run] = tx.all(db.selectFrom('runs').select(['id', 'status', 'cancelled_at']).where('no', '=', runNo));
  if (run === undefined) return;
  const statuses = tx
    .all(db.selectFrom('variations').select('status').where('run', '=', runNo))
    .map((row) => row.status);
  const status = deriveRunStatus(statuses, run.cancelled_at !== null);
  if (status === run.status) return;
  const at = now();
  tx.run(
    db
      .updateTable('runs')
      .set({ status, ended_at: isTerminal(status) ? at : null })
      .where('no', '=', runNo),
  );
  emit(serverEvent(runNo, null, 'run_status', { run_id: run.id, timestamp: at, status, previous: run.status }));
  if (isTerminal(status)) {
    emit(
      serverEvent(runNo, null, 'run_complete', {
        run_id: run.id,
        timestamp: at,
        status,
        summary: summaryOf(status, statuses),
        variations: statuses.length,
        succeeded: statuses.filter((each) => each === 'succeeded').length,
        failed: statuses.filter((each) => each === 'failed').length,
        cancelled: statuses.filter((each) => each === 'cancelled').length,
      }),
    );
  }
}

/** A run in a few words: a partial success says how many. */
export function summaryOf(status: RunStatus, variations: readonly VariationStatus[]): string {
  const total = variations.length;
  const count = (wanted: VariationStatus) => variations.filter((each) => each === wanted).length;
  const of = `of ${total} ${total === 1 ? 'variation' : 'variations'}`;
  switch (status) {
    case 'queued':
      return `${total} ${total === 1 ? 'variation' : 'variations'} queued`;
    case 'running':
      return `${variations.filter(isTerminal).length} ${of} ended`;
    case 'completed':
    case 'failed':
      return `${count('succeeded')} ${of} succeeded`;
    case 'cancelled':
      return `cancelled; ${count('succeeded')} ${of} had succeeded`;
  }
}
