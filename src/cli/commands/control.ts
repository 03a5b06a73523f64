import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, toAppError } from '../../errors.ts';
import { findRunId, type Session, wholeNumber } from '../session.ts';

/** `aideator cancel`: a run, or one variation of it. Doing it twice is doing it once. */
export async function cancel(session: Session, [given = '', variation]: string[]): Promise<number> {
  const index = variation === undefined ? undefined : wholeNumber('The variation')(variation);
  const client = await session.connect();
  const runId = await findRunId(client, given);
  const run = await client.cancel(runId, index);
  if (session.json) {
    session.printJson(run);
    return 0;
  }
  const what = index === undefined ? `Run ${runId}` : `Variation ${index} of run ${runId}`;
  const going =
    index === undefined ? run.counts.queued + run.counts.running > 0 : run.variations[index]?.ended_at === null;
  session.say(
    going
      ? `${what} is being cancelled; what was said and done until now is kept.`
      : `${what} is over (${index === undefined ? run.status : (run.variations[index]?.status ?? 'over')}).`,
  );
  return 0;
}

/** `aideator retry`: a failed or cancelled variation as a new attempt. */
export async function retry(session: Session, [given = '', variation = '']: string[]): Promise<number> {
  const index = wholeNumber('The variation')(variation);
  const client = await session.connectUpToDate();
  const runId = await findRunId(client, given);
  const run = await client.retry(runId, index);
  if (session.json) session.printJson(run);
  else session.say(`Variation ${index} of run ${runId} is tried again. Watch it: aideator watch ${runId}`);
  return 0;
}

/** Milliseconds that `rm` waits for what still has to stop. */
const STOP_WITHIN = 60_000;

/** `aideator rm`: cancels a run, waits until all of it stopped, and forgets it. */
export async function forget(session: Session, [given = '']: string[]): Promise<number> {
  const client = await session.connect();
  const runId = await findRunId(client, given);
  let gone = await client.forget(runId);
  for (const until = session.io.now() + STOP_WITHIN; !gone && session.io.now() < until;) {
    await sleep(200);
    gone = await client.forget(runId).catch((error: unknown) => {
      if (toAppError(error).code === 'run_not_found') return true;
      throw error;
    });
  }
  if (!gone)
    throw new AppError('run_active', `Run ${runId} is still being stopped; it is forgotten when that is done.`, {
      hint: 'Nothing more is to be done.',
    });
  if (session.json) session.printJson({ run_id: runId, forgotten: true });
  else session.print(`Run ${runId} is forgotten.`);
  return 0;
}
