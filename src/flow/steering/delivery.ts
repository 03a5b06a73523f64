import { toAppError } from '../../errors.ts';
import type { LiveAttempt, RunningContext } from '../context.ts';
import { waitingPrompts } from './prompts.ts';

/** Hands what waits in the store to the recorders of attempts under way. */
export interface PromptDelivery {
  /** All that waits for the attempt, in order; what it was handed before again, which changes nothing. Resolves when its recorder has it, or it did not work. Never rejects. */
  deliver(attempt: LiveAttempt): Promise<void>;
}

/** After a failure: once more (ms). What is never handed over becomes a new attempt's task when this one has ended. */
const AGAIN_MS = 1000;

export function createPromptDelivery(context: Pick<RunningContext, 'store' | 'runtime' | 'telemetry'>): PromptDelivery {
  const { store, runtime, telemetry } = context;
  /** One pass after the other for an attempt: a later prompt never comes before an earlier one. */
  const passes = new Map<string, Promise<void>>();

  async function pass({ attemptId, runNo, variation }: LiveAttempt): Promise<void> {
    const waiting = await waitingPrompts(store.db, runNo, variation).execute();
    for (const { no, text } of waiting) await runtime.prompt(attemptId, { no, text });
  }

  function deliver(attempt: LiveAttempt, isLast = false): Promise<void> {
    const { attemptId } = attempt;
    const mine = (passes.get(attemptId) ?? Promise.resolve())
      .then(() => pass(attempt))
      .catch((error: unknown) => {
        if (attempt.stopped.signal.aborted || toAppError(error).code === 'shutting_down') return;
        telemetry.log.warn({ err: error, attempt: attemptId }, 'a prompt could not be handed over');
        if (!isLast) setTimeout(() => void deliver(attempt, true), AGAIN_MS).unref();
      })
      .finally(() => {
        if (passes.get(attemptId) === mine) passes.delete(attemptId);
      });
    passes.set(attemptId, mine);
    return mine;
  }

  return { deliver: (attempt) => deliver(attempt) };
}
