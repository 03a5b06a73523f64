import type { Gap } from '../contract/api.ts';
import type { Envelope } from '../contract/envelope.ts';
import type { Batch } from '../runtime/runtime.ts';
import { deadlineOf } from './clocks.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import type { NewEvent } from '../store/store.ts';
import { moveVariation } from './moves.ts';
import { markTaken } from './steering/prompts.ts';
import { eventOf } from './stream.ts';

/** The events of a batch. Made once for each, in order: the texts of an attempt go on from one to the next. */
export function eventsOf(context: RunningContext, attempt: LiveAttempt, batch: Batch): NewEvent[] {
  attempt.cleaner ??= context.secrets.cleaner((what) =>
    context.telemetry.log.warn({ attempt: attempt.attemptId, what }, 'a recorder let a secret through'),
  );
  const { cleaner } = attempt;
  return batch.envelopes
    .filter((envelope) => envelope.type !== 'eof')
    .map((envelope) => eventOf(attempt, envelope, cleaner));
}

/**
 * Stores what was read of a recorder's journal: events, the moves they mean and how far was read (`last_seq`) in one transaction.
 *
 * The `eof` line is left to {@link completeAttempt}, which gives its seq to `agent_complete`: should the server die before the end
 * is written down, the next one follows from the last seq stored and finds the `eof` again.
 *
 * @param events what {@link eventsOf} makes of the batch
 */
export async function ingestBatch(
  context: RunningContext,
  attempt: LiveAttempt,
  batch: Batch,
  events: readonly NewEvent[],
): Promise<void> {
  const { db } = context.store;
  const said = batch.envelopes.filter((envelope) => envelope.type !== 'eof');
  const sawEof = said.length < batch.envelopes.length;
  const firstWord = !attempt.speaking && said.some((envelope) => envelope.type === 'acp');
  const result = said.findLast((envelope) => envelope.type === 'result');
  const stated = result === undefined ? undefined : context.secrets.json(result.data);
  const taken = said.flatMap((envelope) => takenPrompt(envelope) ?? []);
  const lastSeq = said.at(-1)?.seq;
  await context.store.write({
    events,
    within: (tx, emit) => {
      if (firstWord) {
        tx.run(
          db
            .updateTable('attempts')
            .set({ status: 'running' })
            .where('no', '=', attempt.attemptNo)
            .where('status', '=', 'starting'),
        );
        moveVariation(db, tx, emit, attempt.runNo, attempt.variation, (moves) => moves.variation('running'));
      }
      if (sawEof || stated !== undefined) {
        tx.run(
          db
            .updateTable('attempts')
            .set({ status: 'finishing' })
            .where('no', '=', attempt.attemptNo)
            .where('status', 'in', ['starting', 'running']),
        );
        moveVariation(db, tx, emit, attempt.runNo, attempt.variation, (moves) => moves.variation('finishing'));
      }
      if (batch.gaps.length > 0) {
        const [row] = tx.all(db.selectFrom('attempts').select('gaps').where('no', '=', attempt.attemptNo));
        const gaps = [...(JSON.parse(row?.gaps ?? '[]') as Gap[]), ...batch.gaps];
        tx.run(
          db
            .updateTable('attempts')
            .set({ gaps: JSON.stringify(gaps) })
            .where('no', '=', attempt.attemptNo),
        );
      }
      for (const no of taken) markTaken(db, tx, { no, run: attempt.runNo, variation: attempt.variation });
      const noted = {
        ...(lastSeq === undefined ? {} : { last_seq: lastSeq }),
        ...(stated === undefined ? {} : { stated_result: stated }),
      };
      // A batch of nothing but the eof has nothing to note, and an UPDATE without a SET is no SQL.
      if (Object.keys(noted).length > 0) {
        tx.run(db.updateTable('attempts').set(noted).where('no', '=', attempt.attemptNo));
      }
    },
  });
  if (firstWord) {
    const { timeoutSeconds } = attempt;
    attempt.deadline = deadlineOf(context, { since: Date.now(), isSpeaking: true, timeoutSeconds });
    attempt.speaking = true;
  }
  if (stated !== undefined) attempt.result = stated;
  if (batch.gaps.length > 0) context.telemetry.metrics.gaps(batch.gaps.length);
}

/** The number of the prompt that a recorder says it took, in a note; null in everything else. */
function takenPrompt({ type, data }: Envelope): number | null {
  if (type !== 'note' || !data.includes('"prompt_taken"')) return null;
  const note = JSON.parse(data) as { code?: unknown; prompt_id?: unknown };
  return note.code === 'prompt_taken' && Number.isSafeInteger(note.prompt_id) ? Number(note.prompt_id) : null;
}
