import type { AttemptSpec } from '../contract/attempt.ts';
import { newAttemptId, now } from '../contract/ids.ts';
import type { Limits } from '../contract/run.ts';
import { NO_SANDBOX } from '../contract/sandbox.ts';
import { deadlineOf } from './clocks.ts';
import type { AttemptsTable, RunsTable, VariationsTable } from '../store/schema.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { locateAgent } from './agents.ts';
import { moveVariation } from './moves.ts';
import { isolationOf, sandboxOf } from './sandbox.ts';
import { markTaken, waitingPrompts } from './steering/prompts.ts';
import { taskOf, type Task } from './steering/task.ts';
import { hashToken, newToken } from './tokens.ts';

/**
 * Writes down the next attempt of a queued variation, before anything of it exists.
 *
 * @returns the attempt as it is known from now on, and the way to what is to be started; null where the variation is not queued any
 *   more.
 */
export async function planAttempt(
  context: RunningContext,
  runNo: number,
  index: number,
): Promise<{ attempt: LiveAttempt; spec(): Promise<AttemptSpec> } | null> {
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
      const [prompt] = variation.start_from === null ? [null] : tx.all(waitingPrompts(db, runNo, index).limit(1));
      if (prompt === undefined) {
        const message = 'What it was told to do is gone.';
        moveVariation(db, tx, emit, runNo, index, (moves) =>
          moves.variation('failed', { reason: 'setup_failed', message }),
        );
        return null;
      }
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
          isolation: isolationOf(context, run.unsandboxed),
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
          continues: variation.start_from,
          prompt: prompt?.no ?? null,
        }),
      );
      if (prompt !== null) markTaken(db, tx, prompt);
      return { run, variation, attempt: earlier.length, attemptNo, prompt: prompt?.no ?? null };
    },
  });
  if (planned === null) return null;
  const { run, variation, attempt, attemptNo, prompt } = planned;
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
    spec: async () => {
      const row = { id: attemptId, continues: variation.start_from, prompt };
      const task = await taskOf(context, { run, variation, attempt: row });
      return {
        ...specOf(context, run, variation, { id: attemptId, attempt, task }),
        sandbox: sandboxOf(context, run.unsandboxed),
        door: { socket: context.doorSocket, token },
        repository: { source: context.mirrors.path(run.mirror), base: run.base },
      };
    },
  };
}

/** What a spec is made of, beside the rows. */
export type SpecSources = Pick<RunningContext, 'agents' | 'config' | 'secrets'>;

/** What an attempt is to do, as the rows say it: the same at its start and whenever its recorder asks again. */
export function specOf(
  context: SpecSources,
  run: Pick<RunsTable, 'id' | 'image'>,
  variation: Pick<VariationsTable, 'idx' | 'agent' | 'model' | 'dialect' | 'limits'>,
  { id, attempt, task }: Pick<AttemptsTable, 'id' | 'attempt'> & { task: Task },
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
    prompt: task.prompt,
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
    sandbox: NO_SANDBOX,
    egress: context.config.sandbox.allow_hosts.length > 0,
    model: variation.model,
    dialect: variation.dialect,
    work: task.work,
    secrets: context.secrets.prints(),
    limits: JSON.parse(variation.limits) as Limits,
  };
}
