import type { RunSummary } from '../../contract/api.ts';
import { dateTime } from '../format.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';

/** `aideator list`: runs, the newest first. */
export async function list(
  session: Session,
  _args: string[],
  { status, limit = 20 }: { status?: string; limit?: number },
): Promise<number> {
  const client = await session.connect();
  const runs: RunSummary[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.runs({ status, cursor, limit: Math.min(100, limit - runs.length) });
    runs.push(...page.runs);
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined && runs.length < limit);
  if (session.json) {
    session.printJson({ runs, next_cursor: cursor ?? null });
    return 0;
  }
  if (runs.length === 0) {
    session.print(
      status === undefined
        ? 'No run yet. aideator run --prompt "…" starts one; aideator demo shows how it goes.'
        : `No run is ${status}.`,
    );
    return 0;
  }
  const { palette } = session;
  const paintOf = {
    completed: palette.good,
    failed: palette.bad,
    cancelled: palette.warn,
    running: palette.accent,
    queued: palette.accent,
  };
  const rows = runs.map((run) => [
    { text: run.run_id },
    { text: dateTime(run.created_at) },
    { text: run.status, paint: paintOf[run.status] },
    { text: `${run.counts.succeeded}/${run.counts.total}` },
    {
      text:
        run.choice === null
          ? '-'
          : `${run.choice.winning_variation_id}${run.choice.shipped.length > 0 ? ' shipped' : ''}`,
    },
    { text: baseName(run.repository) },
    { text: run.prompt },
  ]);
  const columns = [
    { title: 'run' },
    { title: 'started', expendable: 2 },
    { title: 'status' },
    { title: 'good', align: 'right' as const },
    { title: 'chosen', expendable: 1 },
    { title: 'repository', flexible: 2, least: 8, expendable: 3 },
    { title: 'prompt', flexible: 1, least: 8 },
  ];
  session.print(...table(columns, rows, session.columns, palette));
  return 0;
}

function baseName(repository: string): string {
  return repository.replace(/\/+$/, '').split('/').at(-1) ?? repository;
}
