import { setImmediate as nextTurn } from 'node:timers/promises';
import { isTerminal, type EndReason } from '../contract/run.ts';
import { toAppError } from '../errors.ts';
import type { RuntimeEvents } from '../runtime/runtime.ts';
import type { NewEvent, Tx } from '../store/store.ts';
import { watchClocks } from './clocks.ts';
import { completeAttempt } from './complete.ts';
import type { LiveAttempt, RunningContext } from './context.ts';
import { eventsOf, ingestBatch } from './ingest.ts';
import { moveVariation, settleRun } from './moves.ts';
import { persist } from './persist.ts';
import { planAttempt } from './start.ts';
import { createPromptDelivery } from './steering/delivery.ts';
import { noteWaiting } from './waiting.ts';

/** Step 2: queued variations are started as attempts, watched to their end, stopped when asked. */
export interface Conductor {
  /** Looks for work from now on: after what the last server left was taken over. */
  open(): void;
  /** Something was queued. Cheap when there is nothing to do. */
  kick(): void;
  /** What the runtime calls. */
  readonly events: RuntimeEvents;
  /** Takes over an attempt that a former server started. */
  take(attempt: LiveAttempt): void;
  /** A variation was told something: where an attempt of it is under way, its recorder gets it. Never rejects. */
  prompted(runNo: number, variation: number): Promise<void>;
  /** Asks for the end of variations of a run. Idempotent; resolves when it is written down and the runtime was told. */
  stop(runNo: number, reason: EndReason, options?: StopOptions): Promise<void>;
  /** Attempts under way. */
  active(): number;
  /** No more starts; waits for what is being written. Attempts run on. */
  close(): Promise<void>;
}

export interface StopOptions {
  /** All that are not over, when left out. */
  which?: (variation: number) => boolean;
  /** Only those that have not been started; the others run on. */
  queuedOnly?: boolean;
  /** Said of those that had not been started. */
  message?: string;
  /** What else is to be stored with it, in the same transaction and before. If it throws, nothing is stopped. */
  also?: (tx: Tx, emit: (event: NewEvent) => void) => void;
}

/** After a failure of the scheduler itself (ms). */
const AGAIN_MS = 1000;
/** A batch that cannot be stored although nothing is wrong with the disk. */
const BATCH_TRIES = 5;

export function createConductor(context: RunningContext): Conductor {
  const { store, runtime } = context;
  const { db } = store;
  const { log, metrics } = context.telemetry;
  const live = new Map<string, LiveAttempt>();
  const closing = new AbortController();
  const delivery = createPromptDelivery(context);
  let isOpen = false;
  let working: Promise<void> | null = null;
  let again = false;

  /** The queued variation to start next: of the run with the fewest attempts under way, the oldest. */
  async function nextQueued(): Promise<{ run: number; idx: number } | undefined> {
    if (live.size >= context.config.max_parallel) return undefined;
    const queued = await db
      .selectFrom('variations')
      .innerJoin('runs', 'runs.no', 'variations.run')
      .select(({ fn }) => ['variations.run', 'runs.max_parallel', fn.min<number>('variations.idx').as('idx')])
      .where('variations.status', '=', 'queued')
      .groupBy('variations.run')
      .orderBy('variations.run')
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
      for (let next = await nextQueued(); next !== undefined && !closing.signal.aborted; next = await nextQueued()) {
        await start(next.run, next.idx);
        // One spawn a turn: a fork of a large process blocks the loop for milliseconds, and readers wait.
        await nextTurn();
      }
    } while (again && !closing.signal.aborted);
  }

  function kick(): void {
    if (closing.signal.aborted || !isOpen) return;
    if (working !== null) {
      again = true;
      return;
    }
    working = work()
      .catch((error: unknown) => {
        if (closing.signal.aborted) return;
        log.error({ err: error }, 'the scheduler failed; it tries again in a second');
        setTimeout(kick, AGAIN_MS).unref();
      })
      .finally(() => {
        working = null;
        if (again) kick();
      });
  }

  async function start(runNo: number, index: number): Promise<void> {
    const full = context.budgets.closedFor(runNo, index);
    if (full !== null) {
      await endQueued(full, runNo, index);
      return;
    }
    const planned = await planAttempt(context, runNo, index);
    if (planned === null) return;
    const { attempt, spec } = planned;
    const { attemptId } = attempt;
    take(attempt);
    try {
      await runtime.start(await spec());
    } catch (error) {
      const { message } = toAppError(error);
      await events.ended(attemptId, {
        kind: 'not_started',
        reason: 'setup_failed',
        message: `The attempt could not be started: ${message}`,
      });
      return;
    }
    // Said and stopped between the queue and the start: the runtime did not know it then.
    await delivery.deliver(attempt);
    const asked = await db
      .selectFrom('variations')
      .select('stop_reason')
      .where('run', '=', runNo)
      .where('idx', '=', index)
      .executeTakeFirst();
    if (asked?.stop_reason == null) return;
    attempt.stopped.abort();
    await runtime.stop(attemptId, asked.stop_reason);
  }

  function take(attempt: LiveAttempt): void {
    live.set(attempt.attemptId, attempt);
    context.tokens.admit(attempt.tokenSha256, attempt);
    metrics.activeAttempts(live.size);
  }

  /** Stores what a runtime tells, for as long as it takes. */
  function keepTrying<T>(
    attemptId: string,
    what: string,
    tries: number,
    storing: (made: number) => Promise<T>,
  ): Promise<T> {
    return persist(
      {
        signal: closing.signal,
        tries,
        onFailure: (error) =>
          log.error({ err: error, attempt: attemptId }, `${what} could not be stored; trying again`),
      },
      storing,
    );
  }

  const events: RuntimeEvents = {
    started: async (attemptId, handle) => {
      await keepTrying(attemptId, 'that the attempt was started', BATCH_TRIES, () =>
        store.write({
          within: (tx) => void tx.run(db.updateTable('attempts').set({ handle }).where('id', '=', attemptId)),
        }),
      );
    },
    batch: async (attemptId, batch) => {
      const attempt = live.get(attemptId);
      if (attempt === undefined) return;
      const made = eventsOf(context, attempt, batch);
      await keepTrying(attemptId, 'what the attempt said', BATCH_TRIES, () =>
        ingestBatch(context, attempt, batch, made),
      );
    },
    waiting: async (attemptId, what) => {
      const attempt = live.get(attemptId);
      if (attempt === undefined) return;
      await keepTrying(attemptId, 'what the attempt waits for', BATCH_TRIES, () => noteWaiting(context, attempt, what));
    },
    transport: (attemptId, message) => {
      metrics.transportProblem();
      log.warn({ attempt: attemptId }, message);
    },
    ended: async (attemptId, end) => {
      const attempt = live.get(attemptId);
      if (attempt === undefined) return;
      // Nothing more of it, whatever of it still lives.
      context.tokens.revoke(attempt.tokenSha256);
      attempt.stopped.abort();
      const { keep, cancelled } = await keepTrying(attemptId, 'the attempt’s end', Infinity, (made) =>
        completeAttempt(context, attempt, end, made),
      );
      live.delete(attemptId);
      metrics.activeAttempts(live.size);
      kick();
      if (![...live.values()].some(({ runNo }) => runNo === attempt.runNo)) {
        context.budgets.drop(attempt.runNo);
        await context.checkouts.drop(attempt.runId);
      }
      if (keep || context.config.keep_workspaces) return;
      await runtime
        .remove(attemptId, cancelled ? 'now' : 'expire')
        .catch((error: unknown) =>
          log.warn({ err: error, attempt: attemptId }, 'the attempt left files that could not be removed'),
        );
    },
  };

  async function stop(runNo: number, reason: EndReason, options: StopOptions = {}): Promise<void> {
    const { which = () => true, also, queuedOnly = false, message = 'It had not been started.' } = options;
    const tell = async () => {
      if (queuedOnly) return;
      const told = [...live.values()].filter((attempt) => attempt.runNo === runNo && which(attempt.variation));
      for (const attempt of told) {
        // Stop means stop, the spending first: no more model calls, and those under way are cut. Its token is good until its end:
        // a recorder in a pod has its result yet to bring. What a budget was set aside for is paid already, and no more is made.
        if (reason !== 'budget_exhausted') attempt.stopped.abort();
      }
      await Promise.all(told.map((attempt) => runtime.stop(attempt.attemptId, reason)));
    };
    let refusal: unknown;
    try {
      await store.write({
        within: (tx, emit) => {
          try {
            also?.(tx, emit);
          } catch (error) {
            refusal = error;
            throw error;
          }
          const variations = tx.all(
            db.selectFrom('variations').select(['idx', 'status', 'stop_reason']).where('run', '=', runNo),
          );
          for (const { idx, status, stop_reason: asked } of variations) {
            if (!which(idx) || isTerminal(status)) continue;
            if (status === 'queued') {
              const hasFailed = reason === 'run_timeout' || reason === 'budget_exhausted';
              moveVariation(db, tx, emit, runNo, idx, (moves) =>
                moves.variation(hasFailed ? 'failed' : 'cancelled', { reason, message }),
              );
            } else if (asked === null && !queuedOnly) {
              // The first reason stands: a cancel after a timeout changes nothing about why it ended.
              tx.run(
                db
                  .updateTable('variations')
                  .set({ stop_reason: reason })
                  .where('run', '=', runNo)
                  .where('idx', '=', idx),
              );
            }
          }
          settleRun(db, tx, emit, runNo);
        },
      });
    } catch (error) {
      // Stop means stop, also where it cannot be written down: what runs spends money.
      if (refusal === undefined) await tell();
      throw error;
    }
    await tell();
    kick();
  }

  /** Ends what waits in the queue: of one variation, of a run, or all there is. */
  async function endQueued(message: string, run?: number, variation?: number): Promise<void> {
    const queued = await db
      .selectFrom('variations')
      .select('run')
      .distinct()
      .where('status', '=', 'queued')
      .$if(run !== undefined, (query) => query.where('run', '=', run ?? 0))
      .execute();
    const which = (index: number): boolean => variation === undefined || index === variation;
    for (const each of queued) {
      await stop(each.run, 'budget_exhausted', { which, queuedOnly: true, message: `It was not started: ${message}` });
    }
  }

  const report = (error: unknown): void => log.error({ err: error }, 'what follows from a budget could not be done');
  context.budgets.listen({
    closed: (run) => {
      const full = context.budgets.closedFor(run ?? undefined);
      if (full !== null) endQueued(full, run ?? undefined).catch(report);
    },
    exhausted: (run, variation) => {
      stop(run, 'budget_exhausted', { which: (index) => index === variation }).catch(report);
    },
  });

  const stopClocks = watchClocks(context, live, (runNo, reason, which) =>
    stop(runNo, reason, which === undefined ? {} : { which }),
  );

  return {
    open: () => {
      isOpen = true;
      kick();
    },
    kick,
    events,
    take,
    prompted: async (runNo, variation) => {
      for (const attempt of live.values())
        if (attempt.runNo === runNo && attempt.variation === variation) await delivery.deliver(attempt);
    },
    stop,
    active: () => live.size,
    close: async () => {
      closing.abort();
      stopClocks();
      await working;
    },
  };
}
