import { now } from '../contract/ids.ts';
import type { Limits } from '../contract/run.ts';
import { toAppError } from '../errors.ts';
import { deadlineOf } from './clocks.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { moveVariation, serverEvent } from './moves.ts';
import type { Conductor } from './run.ts';
import { settleAbandoned } from './usage.ts';

/** What became of an attempt that the last server left behind. */
type Became = 'running' | 'finished' | 'lost' | 'not_started';

/**
 * After a start: finds out of every attempt that was under way what became of it, says so in log and stream, and follows what
 * runs on. What a crash left between two writes is put back into the queue. The conductor starts nothing before this is done.
 *
 * @returns how many attempts were found
 */
export async function recover(context: RunningContext, conductor: Conductor): Promise<number> {
  const abandoned = await settleAbandoned(context);
  if (abandoned > 0) context.telemetry.log.warn({ calls: abandoned }, 'model calls of the last server were under way');
  const open = await openAttempts(context);
  // All of them first: a recorder may knock at the attempt door as soon as it is open.
  for (const { attempt } of open) conductor.take(attempt);
  await Promise.all(open.map((each) => takeOver(context, conductor, each)));
  await requeueStranded(context);
  await removeOrphans(context);
  return open.length;
}

interface OpenAttempt {
  attempt: LiveAttempt;
  handle: string | null;
  lastSeq: number;
}

async function openAttempts(context: RunningContext): Promise<OpenAttempt[]> {
  const rows = await context.store.db
    .selectFrom('attempts')
    .innerJoin('runs', 'runs.no', 'attempts.run')
    .innerJoin('variations', (join) =>
      join.onRef('variations.run', '=', 'attempts.run').onRef('variations.idx', '=', 'attempts.variation'),
    )
    .select(['attempts.no', 'attempts.id', 'attempts.run', 'attempts.variation', 'attempts.attempt', 'attempts.status'])
    .select(['attempts.token_sha256', 'attempts.last_seq', 'attempts.stated_result', 'attempts.handle'])
    .select(['attempts.started_at', 'runs.id as runId', 'variations.agent', 'variations.model', 'variations.limits'])
    .where('attempts.status', 'in', ['starting', 'running', 'finishing'])
    .execute();
  return rows.map((row) => {
    const { timeout_seconds: timeoutSeconds } = JSON.parse(row.limits) as Limits;
    return {
      attempt: {
        runNo: row.run,
        runId: row.runId,
        variation: row.variation,
        attempt: row.attempt,
        attemptId: row.id,
        attemptNo: row.no,
        model: row.model,
        helpers: context.agents.get(row.agent)?.models,
        tokenSha256: row.token_sha256,
        speaking: row.status !== 'starting',
        result: row.stated_result,
        stopped: new AbortController(),
        bookings: new Set(),
        noted: new Set(),
        timeoutSeconds,
        // When it began to speak is not known: counted from now, it is not cut short.
        deadline: deadlineOf(context, {
          since: context.runtime.name === 'kubernetes' ? Date.now() : Date.parse(row.started_at),
          isSpeaking: row.status !== 'starting',
          timeoutSeconds,
        }),
      },
      handle: row.handle,
      lastSeq: row.last_seq,
    };
  });
}

async function takeOver(context: RunningContext, conductor: Conductor, open: OpenAttempt): Promise<void> {
  const { attempt } = open;
  const { attemptId } = attempt;
  const { runId, variation } = attempt;
  const ref = {
    attemptId,
    runId,
    variation,
    attempt: attempt.attempt,
    handle: open.handle,
    lastSeq: open.lastSeq,
  };
  let became: Became;
  try {
    became = await context.runtime.adopt(ref, (found) => tell(context, attempt, found));
  } catch (error) {
    await conductor.events.ended(attemptId, { kind: 'lost', message: toAppError(error).message });
    return;
  }
  if (became !== 'running') return;
  await conductor.prompted(attempt.runNo, variation);
  const asked = await context.store.db
    .selectFrom('variations')
    .select('stop_reason')
    .where('run', '=', attempt.runNo)
    .where('idx', '=', attempt.variation)
    .executeTakeFirst();
  if (asked?.stop_reason == null) return;
  // What was stopped before the last server died makes no more model calls with this one.
  attempt.stopped.abort();
  await context.runtime.stop(attemptId, asked.stop_reason);
}

/** Says what was found, before anything that follows from it. */
async function tell(context: RunningContext, attempt: LiveAttempt, became: Became): Promise<void> {
  const { runId, variation, attemptId } = attempt;
  context.telemetry.log.info({ run: runId, variation, attempt: attemptId, became }, 'an attempt of the last server');
  await context.store.write({
    events: [
      serverEvent(attempt.runNo, variation, 'agent_output', {
        run_id: runId,
        variation_id: variation,
        attempt: attempt.attempt,
        attempt_id: attemptId,
        seq: null,
        timestamp: now(),
        kind: 'note',
        content: `The server was restarted; this attempt ${wordsFor(became)}.`,
        message: { code: 'server_restarted', became },
      }),
    ],
  });
}

/** A variation that is under way in the store but has no attempt under way: the server died between two writes. */
async function requeueStranded(context: RunningContext): Promise<void> {
  const { db } = context.store;
  const stranded = await db
    .selectFrom('variations')
    .select(['run', 'idx'])
    .where('status', 'in', ['starting', 'running', 'finishing'])
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('attempts')
            .select('no')
            .whereRef('attempts.run', '=', 'variations.run')
            .whereRef('attempts.variation', '=', 'variations.idx')
            .where('attempts.ended_at', 'is', null),
        ),
      ),
    )
    .execute();
  for (const { run, idx } of stranded) {
    await context.store.write({
      within: (tx, emit) =>
        moveVariation(db, tx, emit, run, idx, (moves) => {
          moves.variation('failed', { reason: 'lost', message: 'The server died while it was being started.' });
          moves.variation('queued');
        }),
    });
  }
}

/** Removes what attempts left of which no run knows, or that ended while nobody was there to remove it. */
export async function removeOrphans(context: RunningContext): Promise<void> {
  const kept = await context.store.db
    .selectFrom('attempts')
    .select('id')
    .$if(!context.config.keep_workspaces, (query) =>
      query.where((where) => where.or([where('ended_at', 'is', null), where('keep', '=', 1)])),
    )
    .execute();
  for (const attemptId of await context.runtime.orphans(new Set(kept.map(({ id }) => id)))) {
    const row = await context.store.db
      .selectFrom('attempts')
      .select('status')
      .where('id', '=', attemptId)
      .executeTakeFirst();
    const isNews = row !== undefined && row.status !== 'cancelled';
    context.telemetry.log.warn({ attempt: attemptId }, 'removing what an attempt left behind that is over or unknown');
    await context.runtime.remove(attemptId, isNews ? 'expire' : 'now');
  }
}

function wordsFor(became: Became): string {
  switch (became) {
    case 'running':
      return 'ran on and is followed again';
    case 'finished':
      return 'had ended meanwhile; what it wrote was read to the end';
    case 'lost':
      return 'is lost: its recorder is gone without a last word; what it wrote was read to the end';
    case 'not_started':
      return 'had not started';
  }
}
