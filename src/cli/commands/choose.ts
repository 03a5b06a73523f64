import { findRunId, type Session, wholeNumber } from '../session.ts';

/** `aideator choose`: picks the variation that is to be shipped. */
export async function choose(
  session: Session,
  [given = '', variation = '']: string[],
  { reason, cancelRest = false, force = false }: { reason?: string; cancelRest?: boolean; force?: boolean },
): Promise<number> {
  const index = wholeNumber('The variation')(variation);
  const client = await session.connect();
  const runId = await findRunId(client, given);
  const run = await client.select(runId, {
    winning_variation_id: index,
    cancel_rest: cancelRest,
    force,
    ...(reason === undefined ? {} : { reason }),
  });
  if (session.json) {
    session.printJson(run);
    return 0;
  }
  session.print(`Variation ${index} of run ${runId} is chosen.`);
  if (run.counts.queued + run.counts.running > 0)
    session.print(cancelRest ? 'What still runs is being cancelled.' : 'The others go on; --cancel-rest stops them.');
  session.print('', 'Next:', `  aideator ship ${runId}`);
  return 0;
}
