import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AttemptSpec } from '../contract/attempt.ts';
import { newAttemptId, now } from '../contract/ids.ts';
import { isTerminal, type EndReason, type Limits } from '../contract/run.ts';
import { toAppError } from '../errors.ts';
import type { RuntimeEvents } from '../runtime/runtime.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { completeAttempt } from './complete.ts';
import { ingestBatch } from './ingest.ts';
import { moveVariation } from './moves.ts';
import { hashToken, newToken } from './tokens.ts';

/** Step 2: queued variations are started as attempts, watched to their end, stopped when asked. */
export interface Conductor {
  /** Looks for work. Called whenever something was queued or ended; cheap when there is none. */
  kick(): void;
  /** What the runtime calls. */
  readonly events: RuntimeEvents;
  /** Takes over an attempt that a former server started. */
  take(attempt: LiveAttempt): void;
  /** Asks for the end of variations of a run. Idempotent; resolves when it is written down and the runtime was told. */
  stop(runNo: number, reason: EndReason, which?: (variation: number) => boolean): Promise<void>;
  /** Attempts under way. */
  active(): number;
  /** No more starts; waits for what is being written. Attempts run on. */
  close(): Promise<void>;
}

/** A recorder ends an attempt itself at its limit; the server's own stop comes this much later (ms). */
const BACKSTOP_MS = 60_000;

export function createConductor(context: RunningContext): Conductor {
  const { store } = context;
  const { db } = store;
  const { log } = context.telemetry;
  const live = new Map<string, LiveAttempt>();
  let closed = false;
  let working: Promise<void> | null = null;
  let again = false;

  /** The queued variation to start next: of the run with the fewest attempts under way, the oldest. */
  async function nextQueued(): Promise<{ run: number; idx: number } | undefined> {
    if (live.size >= context.config.max_parallel) return undefined;
    const queued = await db
      .selectFrom('variations')
      .innerJoin('runs', 'runs.no', 'variations.run')
      .select(['variations.run', 'variations.idx', 'runs.max_parallel'])
      .where('variations.status', '=', 'queued')
      .orderBy('variations.run')
      .orderBy('variations.idx')
      .execute();
    const active = new Map<number, number>();
    for (const attempt of live.values()) active.set(attempt.runNo, (active.get(attempt.runNo) ?? 0) + 1);
    let best: { run: number; idx: number; active: number } | undefined;
    for (const each of queued) {
      const count = active.get(each.run) ?? 0;
      if (count < each.max_parallel && (best === undefined || count < best.active))
        best = { run: each.run, idx: each.idx, active: count };
    }
    return best;
  }

  async function work(): Promise<void> {
    do {
      again = false;
      for (let next = await nextQueued(); next !== undefined && !closed; next = await nextQueued()) {
        await startAttempt(next.run, next.idx);
        // One spawn a turn: a fork of a large process blocks the loop for milliseconds, and readers wait.
        await nextTurn();
      }
    } while (again && !closed);
  }

  function kick(): void {
    if (closed) return;
    if (working !== null) {
      again = true;
      return;
    }
    working = work()
      .catch((error: unknown) => log.error({ err: error }, 'the scheduler failed; it tries again in a second'))
      .finally(() => {
        working = null;
        if (again) kick();
      });
  }

  async function startAttempt(runNo: number, index: number): Promise<void> {
    const token = newToken();
    const tokenSha256 = hashToken(token);
    const attemptId = newAttemptId();
    const planned = await store.write({
      within: (tx, emit) => {
        const [run] = tx.all(db.selectFrom('runs').selectAll().where('no', '=', runNo));
        const [variation] = tx.all(
          db.selectFrom('variations').selectAll().where('run', '=', runNo).where('idx', '=', index),
        );
        if (run === undefined || variation?.status !== 'queued') return null;
        const attempt = tx.all(
          db.selectFrom('attempts').select('no').where('run', '=', runNo).where('variation', '=', index),
        ).length;
        moveVariation(db, tx, emit, runNo, index, (moves) => moves.variation('starting'));
        const { lastInsertRowid: attemptNo } = tx.run(
          db.insertInto('attempts').values({
            id: attemptId,
            run: runNo,
            variation: index,
            attempt,
            status: 'starting',
            end_reason: null,
            message: null,
            isolation: context.runtime.isolation,
            token_sha256: tokenSha256,
            started_at: now(),
            ended_at: null,
            cursor: 0,
            last_seq: 0,
            log_complete: null,
            gaps: '[]',
            stated_result: null,
            eof: null,
            handle: null,
          }),
        );
        return { run, variation, attempt, attemptNo };
      },
    });
    if (planned === null) return;
    const { run, variation, attempt, attemptNo } = planned;
    const limits = JSON.parse(variation.limits) as Limits;
    const agent = context.agents.get(variation.agent);
    take({
      runNo,
      runId: run.id,
      variation: index,
      attempt,
      attemptId,
      attemptNo,
      model: variation.model,
      tokenSha256,
      speaking: false,
      result: null,
      deadline: Date.now() + limits.timeout_seconds * 1000 + BACKSTOP_MS,
    });
    const spec: AttemptSpec = {
      v: 1,
      run_id: run.id,
      variation_id: index,
      attempt,
      attempt_id: attemptId,
      prompt: variation.instruction === null ? run.prompt : `${run.prompt}\n\n${variation.instruction}`,
      agent: {
        name: variation.agent,
        command: [...(agent?.command ?? [])],
        env: { ...agent?.env },
        mode: agent?.mode ?? null,
      },
      model: variation.model,
      dialect: variation.dialect,
      door: { socket: context.doorSocket, token },
      repository: { source: context.mirrors.path(run.mirror), base: run.base },
      limits,
    };
    try {
      if (agent === undefined) throw new Error(`the agent ${variation.agent} is no longer configured`);
      await context.runtime.start(spec);
    } catch (error) {
      const { message } = toAppError(error);
      await events.ended(attemptId, {
        kind: 'not_started',
        reason: 'setup_failed',
        message: `The attempt could not be started: ${message}`,
      });
      return;
    }
    // Cancelled between the queue and the start: the runtime did not know it then.
    const [asked] = await db
      .selectFrom('variations')
      .select('stop_reason')
      .where('run', '=', runNo)
      .where('idx', '=', index)
      .execute();
    if (asked?.stop_reason != null) await context.runtime.stop(attemptId, asked.stop_reason);
  }

  function take(attempt: LiveAttempt): void {
    live.set(attempt.attemptId, attempt);
    context.tokens.admit(attempt.tokenSha256, attempt);
    context.telemetry.metrics.activeAttempts(live.size);
  }

  const events: RuntimeEvents = {
    started: async (attemptId, handle) => {
      await store.write({
        within: (tx) => void tx.run(db.updateTable('attempts').set({ handle }).where('id', '=', attemptId)),
      });
    },
    batch: async (attemptId, batch) => {
      const attempt = live.get(attemptId);
      if (attempt !== undefined) await ingestBatch(context, attempt, batch);
    },
    transport: (attemptId, message) => {
      context.telemetry.metrics.transportProblem();
      log.warn({ attempt: attemptId }, message);
    },
    ended: async (attemptId, end) => {
      const attempt = live.get(attemptId);
      if (attempt === undefined) return;
      await completeAttempt(context, attempt, end);
      live.delete(attemptId);
      context.tokens.revoke(attempt.tokenSha256);
      context.telemetry.metrics.activeAttempts(live.size);
      if (!context.config.keep_workspaces)
        await context.runtime
          .remove(attemptId)
          .catch((error: unknown) =>
            log.warn({ err: error, attempt: attemptId }, 'the attempt left files that could not be removed'),
          );
      kick();
    },
  };

  async function stop(
    runNo: number,
    reason: EndReason,
    which: (variation: number) => boolean = () => true,
  ): Promise<void> {
    const active = await store.write({
      within: (tx, emit) => {
        const variations = tx.all(
          db.selectFrom('variations').select(['idx', 'status', 'stop_reason']).where('run', '=', runNo),
        );
        const running: number[] = [];
        for (const { idx, status, stop_reason: asked } of variations) {
          if (!which(idx) || isTerminal(status)) continue;
          if (status === 'queued') {
            moveVariation(db, tx, emit, runNo, idx, (moves) =>
              moves.variation(reason === 'run_timeout' ? 'failed' : 'cancelled', {
                reason,
                message: 'It had not been started.',
              }),
            );
            continue;
          }
          running.push(idx);
          // The first reason stands: a cancel after a timeout changes nothing about why it ended.
          if (asked === null)
            tx.run(
              db
                .updateTable('variations')
                .set({ stop_reason: reason, retries_left: 0 })
                .where('run', '=', runNo)
                .where('idx', '=', idx),
            );
        }
        return running;
      },
    });
    const told = [...live.values()].filter((attempt) => attempt.runNo === runNo && active.includes(attempt.variation));
    await Promise.all(told.map((attempt) => context.runtime.stop(attempt.attemptId, reason)));
    kick();
  }

  /** What a recorder cannot see: the run's own time, and its own death. */
  async function watchClocks(): Promise<void> {
    const time = Date.now();
    for (const attempt of live.values()) {
      if (time > attempt.deadline) {
        attempt.deadline = time + BACKSTOP_MS;
        await stop(attempt.runNo, 'timeout', (variation) => variation === attempt.variation);
      }
    }
    const running = await db
      .selectFrom('runs')
      .select(['no', 'id', 'created_at', 'limits'])
      .where('status', 'in', ['queued', 'running'])
      .execute();
    for (const run of running) {
      const { run_timeout_seconds: allowed } = JSON.parse(run.limits) as Limits;
      // A retry gives an old run a new life, but not a new clock: it is bounded by its variation's own timeout then.
      if (time > Date.parse(run.created_at) + allowed * 1000 && (await isFirstLife(run.no)))
        await stop(run.no, 'run_timeout');
    }
  }

  async function isFirstLife(runNo: number): Promise<boolean> {
    const completed = await db
      .selectFrom('events')
      .select('key')
      .where('key', '>', runNo * 2 ** 32)
      .where('key', '<', (runNo + 1) * 2 ** 32)
      .where('type', '=', 'run_complete')
      .limit(1)
      .execute();
    return completed.length === 0;
  }

  const clock = setInterval(() => {
    watchClocks().catch((error: unknown) => log.error({ err: error }, 'watching the clocks failed'));
  }, 1000);
  clock.unref();

  return {
    kick,
    events,
    take,
    stop,
    active: () => live.size,
    close: async () => {
      closed = true;
      clearInterval(clock);
      await working;
    },
  };
}
