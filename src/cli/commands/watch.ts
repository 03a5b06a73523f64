import type { Comparison, Run } from '../../contract/api.ts';
import type { Client } from '../client.ts';
import { nextCommands, renderComparison } from '../compare-table.ts';
import { followRun } from '../follow.ts';
import { findRunId, type Session } from '../session.ts';

/** Exit codes beside those of errors. */
const NOTHING_SUCCEEDED = 10;
const INTERRUPTED = 130;

/** `aideator watch`: a run from its beginning until it is over. */
export async function watch(
  session: Session,
  [given = '']: string[],
  options: { variation?: number; stream?: boolean; plain?: boolean },
): Promise<number> {
  const client = await session.connect();
  return follow(session, client, await client.run(await findRunId(client, given)), options);
}

/** Shows a run until it is over, then what came of it. Returns the exit code. */
export async function follow(
  session: Session,
  client: Client,
  run: Run,
  {
    variation,
    stream,
    plain,
  }: { variation?: number | undefined; stream?: boolean | undefined; plain?: boolean | undefined },
): Promise<number> {
  const show = !session.json ? 'people' : stream === true ? 'events' : 'silent';
  const end = await followRun(session, client, run, { show, variation, plain });
  if (end.kind !== 'over') return INTERRUPTED;
  if (show === 'silent') session.printJson(end.run);
  if (show === 'people') {
    session.print('');
    printComparison(session, await client.compare(run.run_id), end.run.status);
  }
  return exitCodeOf(end.run);
}

/** 0 where at least one variation succeeded. */
export function exitCodeOf({ counts }: Pick<Run, 'counts'>): number {
  return counts.succeeded > 0 ? 0 : NOTHING_SUCCEEDED;
}

/** The evidence, and what to type next. */
export function printComparison(
  session: Session,
  comparison: Comparison,
  status: Run['status'] = comparison.status,
): void {
  const { palette } = session;
  const paint = status === 'completed' ? palette.good : status === 'failed' ? palette.bad : palette.warn;
  session.print(
    `Run ${palette.bold(comparison.run_id)} ${paint(status)}: ${comparison.summary}.`,
    '',
    ...renderComparison(comparison, session.columns, palette),
  );
  const next = nextCommands(comparison);
  if (next.length > 0) session.print('', 'Next:', ...next.map((command) => `  ${command}`));
}
