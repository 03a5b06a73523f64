import type { AttemptSpec } from '../contract/attempt.ts';
import { newAttemptId, now } from '../contract/ids.ts';
import type { Limits } from '../contract/run.ts';
import { deadlineOf } from './clocks.ts';
import type { AttemptsTable, RunsTable, VariationsTable } from '../store/schema.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { locateAgent } from './agents.ts';
import { moveVariation } from './moves.ts';
import { hashToken, newToken } from './tokens.ts';

/**
 * Writes down the next attempt of a queued variation, before anything of it exists.
 *
 * @returns what to start, and the attempt as it is known from now on; null where the variation is not queued any more.
 */
export async function planAttempt(
  context: RunningContext,
  runNo: number,
  index: number,
): Promise<{ attempt: LiveAttempt; spec: AttemptSpec } | null> {
  const { db } = context.store;
  const token = newToken();
  const attemptId = newAttemptId();
  const planned = await context.store.write({
    within: (tx, emit) => {
      const [run] = tx.all(db.selectFrom('runs').selectAll().where('no', '=', runNo));
      const [variation] = tx.all(
        db.selectFrom('variations').selectAll().where('run', '=', runNo).where('idx', '=', index),
      );
      if (run === undefined || variation?.status !== 'queued') return null;
      const earlier = tx.all(
        db.selectFrom('attempts').select('no').where('run', '=', runNo).where('variation', '=', index),
      );
      moveVariation(db, tx, emit, runNo, index, (moves) => moves.variation('starting'));
      // Two clocks: in a cluster, waiting for a place is not working.
      if (context.runtime.name === 'kubernetes') {
        tx.run(
          db.updateTable('variations').set({ started_at: null }).where('run', '=', runNo).where('idx', '=', index),
        );
      }
      const { lastInsertRowid: attemptNo } = tx.run(
        db.insertInto('attempts').values({
          id: attemptId,
          run: runNo,
          variation: index,
          attempt: earlier.length,
          status: 'starting',
          end_reason: null,
          message: null,
          isolation: context.runtime.isolation,
          token_sha256: hashToken(token),
          started_at: now(),
          ended_at: null,
          last_seq: 0,
          log_complete: null,
          gaps: '[]',
          stated_result: null,
          eof: null,
          handle: null,
          keep: 0,
          waiting: null,
        }),
      );
      return { run, variation, attempt: earlier.length, attemptNo };
    },
  });
  if (planned === null) return null;
  const { run, variation, attempt, attemptNo } = planned;
  const { timeout_seconds: timeoutSeconds } = JSON.parse(variation.limits) as Limits;
  return {
    attempt: {
      runNo,
      runId: run.id,
      variation: index,
      attempt,
      attemptId,
      attemptNo,
      model: variation.model,
      helpers: context.agents.get(variation.agent)?.models,
      tokenSha256: hashToken(token),
      speaking: false,
      result: null,
      stopped: new AbortController(),
      bookings: new Set(),
      noted: new Set(),
      timeoutSeconds,
      deadline: deadlineOf(context, { since: Date.now(), isSpeaking: false, timeoutSeconds }),
    },
    spec: {
      ...specOf(context, run, variation, { id: attemptId, attempt }),
      door: { socket: context.doorSocket, token },
      repository: { source: context.mirrors.path(run.mirror), base: run.base },
    },
  };
}

/** What an attempt is to do, as the rows say it: the same at its start and whenever its recorder asks again. */
export function specOf(
  context: Pick<RunningContext, 'agents' | 'config'>,
  run: Pick<RunsTable, 'id' | 'prompt' | 'image'>,
  variation: Pick<VariationsTable, 'idx' | 'agent' | 'model' | 'dialect' | 'instruction' | 'limits'>,
  { id, attempt }: Pick<AttemptsTable, 'id' | 'attempt'>,
): Omit<AttemptSpec, 'door' | 'repository'> {
  const agent = context.agents.get(variation.agent);
  const located = agent === undefined ? null : locateAgent(context.config, agent);
  const found = located?.kind === 'found' ? located : null;
  return {
    v: 1,
    run_id: run.id,
    variation_id: variation.idx,
    attempt,
    attempt_id: id,
    prompt: variation.instruction === null ? run.prompt : `${run.prompt}\n\n${variation.instruction}`,
    agent: {
      name: variation.agent,
      // An agent that was taken out of the configuration, or away, since: its recorder says that there is no such program.
      command: found?.command ?? [...(agent?.command ?? [variation.agent])],
      env: found?.env ?? {},
      mode: agent?.mode ?? null,
      image: run.image,
      files: { ...agent?.files },
      read_paths: found?.readPaths ?? [],
    },
    sandbox: { kind: 'none', read_paths: [] },
    egress: false,
    model: variation.model,
    dialect: variation.dialect,
    limits: JSON.parse(variation.limits) as Limits,
  };
}
