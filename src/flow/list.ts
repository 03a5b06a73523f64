import { sql } from 'kysely';
import type { RunPage } from '../contract/api.ts';
import type { RunStatus, VariationStatus } from '../contract/run.ts';
import { AppError } from '../errors.ts';
import type { Context } from './context.ts';
import { findChoices } from './rows.ts';
import { summaryView } from './views.ts';

/**
 * A page of runs, newest first. The cursor is opaque, and stable while runs are added.
 * Errors: invalid_cursor.
 */
export async function listRuns(
  { store, secrets }: Pick<Context, 'store' | 'secrets'>,
  query: { cursor?: string | undefined; limit: number; status?: RunStatus | undefined },
): Promise<RunPage> {
  const before = query.cursor === undefined ? undefined : decodeCursor(query.cursor);
  let select = store.db
    .selectFrom('runs')
    .select(['no', 'id', 'repository', 'ref', 'base', 'status', 'created_at', 'ended_at'])
    // A prompt may have a megabyte, and a page two hundred of them.
    .select(sql<string>`substr(prompt, 1, 201)`.as('prompt'))
    .where('forget_at', 'is', null)
    .orderBy('no', 'desc')
    .limit(query.limit + 1);
  if (before !== undefined) select = select.where('no', '<', before);
  if (query.status !== undefined) select = select.where('status', '=', query.status);
  const found = await select.execute();
  const runs = found.slice(0, query.limit);
  const numbers = runs.map((run) => run.no);
  const statuses = new Map<number, VariationStatus[]>();
  for (const { run, status } of numbers.length === 0 ? [] : await statusesOf(store, numbers))
    statuses.set(run, [...(statuses.get(run) ?? []), status]);
  const choices = await findChoices(store, numbers);
  const last = runs.at(-1);
  return {
    runs: runs.map((run) =>
      summaryView(
        { ...run, prompt: secrets.text(run.prompt) },
        statuses.get(run.no) ?? [],
        choices.get(run.no) ?? null,
      ),
    ),
    next_cursor: found.length > query.limit && last !== undefined ? encodeCursor(last.no) : null,
  };
}

function statusesOf(store: Context['store'], runs: number[]) {
  return store.db.selectFrom('variations').select(['run', 'status']).where('run', 'in', runs).execute();
}

function encodeCursor(no: number): string {
  return Buffer.from(`runs:${no}`).toString('base64url');
}

function decodeCursor(cursor: string): number {
  const match = /^runs:(\d{1,10})$/.exec(Buffer.from(cursor, 'base64url').toString('utf8'));
  if (match === null)
    throw new AppError('invalid_cursor', 'The cursor is not one that this server gave.', {
      hint: 'Use `next_cursor` of the last page as it is, or leave the cursor out.',
    });
  return Number(match[1]);
}
