import { toAppError } from '../errors.ts';
import type { RunningContext } from './context.ts';
import { moveVariation, serverEvent } from './moves.ts';
import { now } from '../contract/ids.ts';
import type { Conductor } from './run.ts';

/** What became of an attempt that the last server left behind. */
export interface Finding {
  attemptId: string;
  runId: string;
  variation: number;
  became: 'running' | 'finished' | 'lost' | 'not_started';
}

/**
 * After a start: finds out of every attempt that was under way what became of it, says so in log and stream, and follows what
 * runs on. What a crash left between two writes is put back into the queue. Nothing is started before this is done.
 */
export async function recover(context: RunningContext, conductor: Conductor): Promise<Finding[]> {
  const { store } = context;
  const { db } = store;
  const open = await db
    .selectFrom('attempts')
    .innerJoin('runs', 'runs.no', 'attempts.run')
    .innerJoin('variations', (join) =>
      join.onRef('variations.run', '=', 'attempts.run').onRef('variations.idx', '=', 'attempts.variation'),
    )
    .select([
      'attempts.no',
      'attempts.id',
      'attempts.run',
      'attempts.variation',
      'attempts.attempt',
      'attempts.status',
      'attempts.token_sha256',
      'attempts.cursor',
      'attempts.last_seq',
      'attempts.stated_result',
      'attempts.handle',
    ])
    .select(['runs.id as runId', 'variations.model', 'variations.stop_reason', 'variations.limits'])
    .where('attempts.status', 'in', ['starting', 'running', 'finishing'])
    .execute();
  const findings: Finding[] = [];
  for (const row of open) {
    const { timeout_seconds: timeout } = JSON.parse(row.limits) as { timeout_seconds: number };
    conductor.take({
      runNo: row.run,
      runId: row.runId,
      variation: row.variation,
      attempt: row.attempt,
      attemptId: row.id,
      attemptNo: row.no,
      model: row.model,
      tokenSha256: row.token_sha256,
      speaking: row.status !== 'starting',
      result: row.stated_result,
      deadline: Date.now() + timeout * 1000,
    });
    let became: Finding['became'];
    try {
      became = await context.runtime.adopt({
        attemptId: row.id,
        handle: row.handle,
        cursor: row.cursor,
        lastSeq: row.last_seq,
      });
    } catch (error) {
      became = 'lost';
      await conductor.events.ended(row.id, { kind: 'lost', message: toAppError(error).message });
    }
    findings.push({ attemptId: row.id, runId: row.runId, variation: row.variation, became });
    context.telemetry.log.info(
      { run: row.runId, variation: row.variation, attempt: row.id, became },
      'an attempt of the last server',
    );
    await store.write({
      events: [
        serverEvent(row.run, row.variation, 'agent_output', {
          run_id: row.runId,
          variation_id: row.variation,
          attempt: row.attempt,
          attempt_id: row.id,
          seq: null,
          timestamp: now(),
          kind: 'note',
          content: `The server was restarted; this attempt ${wordsFor(became)}.`,
          message: { code: 'server_restarted', became },
        }),
      ],
    });
    if (became === 'running' && row.stop_reason !== null) await context.runtime.stop(row.id, row.stop_reason);
  }
  await requeueStranded(context);
  for (const attemptId of await context.runtime.orphans(
    new Set(
      (await db.selectFrom('attempts').select('id').where('ended_at', 'is', null).execute()).map((row) => row.id),
    ),
  )) {
    context.telemetry.log.warn(
      { attempt: attemptId },
      'removing what an attempt that no run knows (or that ended) left behind',
    );
    await context.runtime.remove(attemptId);
  }
  return findings;
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

function wordsFor(became: Finding['became']): string {
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
