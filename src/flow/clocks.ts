import { now } from '../contract/ids.ts';
import type { EndReason } from '../contract/run.ts';
import type { LiveAttempt, RunningContext } from './context.ts';

/** A recorder ends an attempt itself at its limit; the server's own stop comes this much later (ms). */
const BACKSTOP_MS = 60_000;

const LOOK_MS = 1000;

/**
 * When the server itself stops an attempt (ms since the epoch). In a cluster its time begins when its agent speaks: a pod may wait
 * for its node, or in a queue, and its recorder's clock runs only once it has begun.
 *
 * @param since when it was started (ms since the epoch)
 */
export function deadlineOf(
  { runtime }: Pick<RunningContext, 'runtime'>,
  { since, isSpeaking, timeoutSeconds }: { since: number; isSpeaking: boolean; timeoutSeconds: number },
): number {
  if (runtime.name === 'kubernetes' && !isSpeaking) return Infinity;
  return since + timeoutSeconds * 1000 + BACKSTOP_MS;
}

/**
 * Watches what a recorder cannot see: the run's own time, and its own death. Looks once a second, never twice at once.
 *
 * @returns the way to stop it
 */
export function watchClocks(
  context: RunningContext,
  live: ReadonlyMap<string, LiveAttempt>,
  stop: (runNo: number, reason: EndReason, which?: (variation: number) => boolean) => Promise<void>,
): () => void {
  const { db } = context.store;
  // The runs whose end was asked for: they need time to stop, and to be asked again every second does not help them.
  const asked = new Set<number>();

  /** One that cannot be stopped holds up none of the others. */
  async function tryStop(runNo: number, reason: EndReason, which?: (variation: number) => boolean): Promise<boolean> {
    try {
      await stop(runNo, reason, which);
      return true;
    } catch (error) {
      context.telemetry.log.error({ err: error, run: runNo, reason }, 'stopping failed; it is tried again');
      return false;
    }
  }

  async function look(): Promise<void> {
    const time = Date.now();
    for (const attempt of live.values()) {
      if (time <= attempt.deadline) continue;
      attempt.deadline = time + BACKSTOP_MS;
      await tryStop(attempt.runNo, 'timeout', (variation) => variation === attempt.variation);
    }
    const due = await db
      .selectFrom('runs')
      .select('no')
      .where('ended_at', 'is', null)
      .where('deadline_at', '<', now())
      .execute();
    for (const { no } of due) {
      if (asked.has(no)) continue;
      if (await tryStop(no, 'run_timeout')) asked.add(no);
    }
    const still = new Set(due.map(({ no }) => no));
    for (const no of asked) if (!still.has(no)) asked.delete(no);
  }

  let timer: NodeJS.Timeout;
  let stopped = false;
  const next = (): void => {
    timer = setTimeout(() => {
      look()
        .catch((error: unknown) => context.telemetry.log.error({ err: error }, 'watching the clocks failed'))
        .finally(() => {
          if (!stopped) next();
        });
    }, LOOK_MS);
    timer.unref();
  };
  next();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
