import type { AttemptSpec } from '../../contract/attempt.ts';
import type { AttemptResult } from '../../contract/attempt.ts';
import { AppError } from '../../errors.ts';
import type { AttemptsTable, RunsTable, VariationsTable } from '../../store/schema.ts';
import type { Context } from '../context.ts';
import { patchPath } from '../finish.ts';
import { conversationOf } from './conversation.ts';
import { promptWithRecord } from './transcript.ts';

/** An attempt's task: the run's prompt from the base on, or what it was told next, with the work and the conversation so far. */
export type Task = Pick<AttemptSpec, 'prompt' | 'work'>;

type Rows = {
  run: Pick<RunsTable, 'prompt'>;
  variation: Pick<VariationsTable, 'instruction' | 'forked_from'>;
  attempt: Pick<AttemptsTable, 'id' | 'continues' | 'prompt'>;
};

/**
 * As the rows and the log say it: the same at the attempt's start and whenever its recorder asks again.
 *
 * @param context `config` where the patch lies on this machine for the recorder to read; without it the door hands it out
 */
export async function taskOf(
  context: Pick<Context, 'store'> & Partial<Pick<Context, 'config'>>,
  { run, variation, attempt }: Rows,
): Promise<Task> {
  const withInstruction = (text: string): string =>
    variation.instruction === null ? text : `${text}\n\n${variation.instruction}`;
  if (attempt.continues === null) return { prompt: withInstruction(run.prompt), work: null };
  const { db } = context.store;
  const prompt = await db.selectFrom('prompts').select('text').where('no', '=', attempt.prompt).executeTakeFirst();
  const earlier = await db
    .selectFrom('attempts')
    .innerJoin('results', 'results.attempt', 'attempts.no')
    .select(['attempts.id', 'results.data'])
    .where('attempts.no', '=', attempt.continues)
    .executeTakeFirst();
  if (prompt === undefined || earlier === undefined)
    throw new AppError('internal', 'What this attempt goes on from is gone.');
  const result = JSON.parse(earlier.data) as AttemptResult;
  // A fork has a strategy of its own; one that goes on has its strategy in the record.
  const isFork = attempt.continues === variation.forked_from;
  return {
    prompt: promptWithRecord(
      await conversationOf(context.store, attempt.continues),
      isFork ? withInstruction(prompt.text) : prompt.text,
      attempt.id,
      notCarried(result),
    ),
    work:
      result.patch_bytes === 0
        ? null
        : {
            sha256: result.patch_sha256,
            bytes: result.patch_bytes,
            tree: result.tree,
            file: context.config === undefined ? null : patchPath({ config: context.config }, earlier.id),
          },
  };
}

/** What of the earlier work tree no patch could carry, in words. */
export function notCarried({ not_carried: left }: Pick<AttemptResult, 'not_carried'>): string[] {
  if (left.length === 0) return [];
  const most = left.slice(0, 20).map(({ path, what }) => `${JSON.stringify(path)} (${what})`);
  const more = left.length > most.length ? ` and ${left.length - most.length} more` : '';
  return [`Not carried over from the earlier work tree: ${most.join(', ')}${more}.`];
}
