import type { Kysely, Selectable } from 'kysely';
import type { Lineage } from '../../contract/api.ts';
import type { AttemptResult } from '../../contract/attempt.ts';
import { now } from '../../contract/ids.ts';
import { isTerminal } from '../../contract/run.ts';
import { AppError } from '../../errors.ts';
import type { RunsTable, Schema, VariationsTable } from '../../store/schema.ts';
import type { Tx } from '../../store/store.ts';
import type { Context } from '../context.ts';
import { runNotFound } from '../rows.ts';
import { notCarried } from './task.ts';

/** What follow-up prompts and forks have in common: whether there may be another attempt, and what it goes on from. */

/** Errors: budget_exhausted. */
export function checkRoom(context: Pick<Context, 'budgets'>, run: number, variation?: number): void {
  const full = context.budgets.closedFor(run, variation);
  if (full === null) return;
  throw new AppError('budget_exhausted', `Nothing new is started: ${full}`, {
    hint: 'Submit a new run, with a larger budget.',
  });
}

/** The run as it is in this transaction. Errors: run_not_found (forgotten meanwhile), run_time_up. */
export function openRun(db: Kysely<Schema>, tx: Tx, runNo: number, runId: string): Selectable<RunsTable> {
  const [run] = tx.all(db.selectFrom('runs').selectAll().where('no', '=', runNo));
  if (run === undefined || run.forget_at !== null) throw runNotFound(runId);
  if (run.deadline_at !== null && run.deadline_at < now()) {
    throw new AppError(
      'run_time_up',
      `The time of run ${runId} was up at ${run.deadline_at}: nothing new is started in it.`,
      {
        hint: 'Submit a new run; `limits.run_timeout_seconds` gives it more time.',
      },
    );
  }
  return run;
}

export interface Source extends Lineage {
  /** The attempt's row. */
  no: number;
  notes: string[];
}

/**
 * Where somebody goes on from: the newest attempt of a variation that left a work tree, or the one that is named. Errors:
 * nothing_to_continue; not_finished where none is named.
 */
export function sourceOf(
  db: Kysely<Schema>,
  tx: Tx,
  variation: Pick<Selectable<VariationsTable>, 'run' | 'idx' | 'status' | 'end_reason'>,
  runId: string,
  named?: number,
): Source {
  const { run, idx, status, end_reason: reason } = variation;
  if (named === undefined && !isTerminal(status)) {
    throw new AppError('not_finished', `Variation ${idx} is still ${status}.`, {
      hint: `Wait for its end, stop it first (aideator cancel ${runId} ${idx}), or name an attempt that is over (--attempt).`,
    });
  }
  const attempts = tx.all(
    db
      .selectFrom('attempts')
      .leftJoin('results', 'results.attempt', 'attempts.no')
      .select(['attempts.no', 'attempts.attempt', 'attempts.end_reason', 'results.tree'])
      .where('attempts.run', '=', run)
      .where('attempts.variation', '=', idx)
      .orderBy('attempts.no', 'desc'),
  );
  const found = attempts.find(({ tree, attempt }) => tree !== null && (named ?? attempt) === attempt);
  if (found === undefined && named !== undefined) {
    const those = attempts.filter(({ tree }) => tree !== null).map(({ attempt }) => attempt);
    throw new AppError('nothing_to_continue', `Attempt ${named} of variation ${idx} left no work to go on from.`, {
      hint: those.length === 0 ? 'None of its attempts did.' : `These did: ${those.toReversed().join(', ')}.`,
    });
  }
  if (found === undefined) {
    const why = attempts.length === 0 ? 'it was never started' : `it left no work (${reason ?? 'unknown'})`;
    throw new AppError('nothing_to_continue', `There is nothing of variation ${idx} to go on from: ${why}.`, {
      hint: `Try it again: aideator retry ${runId} ${idx}. Or go on from another: aideator compare ${runId}`,
    });
  }
  const [result] = tx.all(db.selectFrom('results').select('data').where('attempt', '=', found.no));
  const notes = result === undefined ? [] : notCarried(JSON.parse(result.data) as AttemptResult);
  const [newest] = attempts;
  if (named === undefined && newest !== undefined && newest.no !== found.no)
    notes.push(
      `Attempt ${newest.attempt} left no work (${newest.end_reason ?? 'unknown'}): it goes on from attempt ${found.attempt}.`,
    );
  return { no: found.no, variation_id: idx, attempt: found.attempt, notes };
}
