import type { Kysely, Selectable } from 'kysely';
import { now } from '../../contract/ids.ts';
import type { EndReason } from '../../contract/run.ts';
import type { PromptsTable, Schema } from '../../store/schema.ts';
import type { NewEvent, Tx } from '../../store/store.ts';
import type { Context } from '../context.ts';

/**
 * What variations were told beside their run's prompt. A prompt is stored before it is answered for, waits until a recorder says that
 * it took it (the line of its journal that says so is stored in the same transaction), and is never given twice to one attempt.
 */

type Db = Kysely<Schema>;
export type PromptRow = Selectable<PromptsTable>;

/** The end of a turn, whatever of: the session could have gone on. A prompt that came too late for it is a new attempt's task. */
export function turnEnded(reason: EndReason): boolean {
  return ['end_turn', 'no_changes', 'max_turns', 'max_tokens', 'refusal'].includes(reason);
}

/** Characters of a prompt that its event shows; the log has all of it once an agent was sent it. */
const SHOWN = 2000;

/** A prompt as its event shows it. */
export function shownPrompt({ secrets }: Pick<Context, 'secrets'>, prompt: string): string {
  const clean = secrets.text(prompt);
  return clean.length > SHOWN ? `${clean.slice(0, SHOWN).toWellFormed()}…` : clean;
}

/** In the order in which they were said. */
export function waitingPrompts(db: Db, run: number, variation: number) {
  return db
    .selectFrom('prompts')
    .selectAll()
    .where('run', '=', run)
    .where('variation', '=', variation)
    .where('status', '=', 'waiting')
    .orderBy('no');
}

/** @returns its number */
export function addPrompt(
  db: Db,
  tx: Tx,
  { run, variation, text, origin }: Pick<PromptRow, 'run' | 'variation' | 'text' | 'origin'>,
): number {
  const row = { run, variation, text, origin, at: now(), status: 'waiting' as const };
  return tx.run(db.insertInto('prompts').values(row)).lastInsertRowid;
}

/** An attempt took it: as what it began with, or as a later turn. Nothing where it was taken before. */
export function markTaken(db: Db, tx: Tx, prompt: Pick<PromptRow, 'no' | 'run' | 'variation'>): void {
  tx.run(
    db
      .updateTable('prompts')
      .set({ status: 'taken' })
      .where('no', '=', prompt.no)
      .where('run', '=', prompt.run)
      .where('variation', '=', prompt.variation)
      .where('status', '=', 'waiting'),
  );
}

/** A variation is tried again: what was said since the point where it starts again is said again. */
export function giveAgain(db: Db, tx: Tx, run: number, variation: number): void {
  tx.run(ofOrigin(db, run, variation).set({ status: 'waiting' }).where('status', 'in', ['taken', 'dropped']));
}

/** Something else is said in its place: a retry does not give again what was said since the point where the variation starts. */
export function withdraw(db: Db, tx: Tx, run: number, variation: number): void {
  tx.run(ofOrigin(db, run, variation).set({ status: 'withdrawn' }).where('status', 'in', ['taken', 'dropped']));
}

function ofOrigin(db: Db, run: number, variation: number) {
  const start = db.selectFrom('variations').select('start_from').where('run', '=', run).where('idx', '=', variation);
  return db
    .updateTable('prompts')
    .where('run', '=', run)
    .where('variation', '=', variation)
    .where('origin', 'is', start);
}

/** What waits goes on from another attempt now. */
export function moveWaiting(db: Db, tx: Tx, run: number, variation: number, origin: number): void {
  tx.run(
    db
      .updateTable('prompts')
      .set({ origin })
      .where('run', '=', run)
      .where('variation', '=', variation)
      .where('status', '=', 'waiting'),
  );
}

/** The variation is over: what it was not given yet is given to nobody, and the log says so. */
export function dropWaiting(
  db: Db,
  tx: Tx,
  emit: (event: NewEvent) => void,
  variation: { run: number; runId: string; idx: number; endReason: EndReason | null },
): void {
  const { run, runId, idx, endReason } = variation;
  for (const { no } of tx.all(waitingPrompts(db, run, idx))) {
    tx.run(db.updateTable('prompts').set({ status: 'dropped' }).where('no', '=', no));
    emit({
      run,
      variation: idx,
      attempt: null,
      seq: null,
      span: 1,
      type: 'prompt_dropped',
      data: JSON.stringify({
        run_id: runId,
        variation_id: idx,
        timestamp: now(),
        prompt_id: no,
        end_reason: endReason,
        content: `A prompt was given to nobody: the variation had ended first (${endReason ?? 'for an unknown reason'}). A retry gives it again.`,
      }),
    });
  }
}
