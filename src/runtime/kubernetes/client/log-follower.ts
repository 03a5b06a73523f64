import { answeredWith, askedWait } from './api-error.ts';
import type { KubernetesApi } from './api.ts';
import { between, createBackoff, pause } from './backoff.ts';
import { createLogLines } from './log-lines.ts';
import { limitProblems } from './problem-limit.ts';

/**
 * Follows one container's log for as long as there may be more of it. The API's stream ends for many reasons and says none of
 * them: so every end is followed by another connection, from two seconds before the last line on (the API knows whole seconds
 * only). Lines may therefore come twice, and behind a rotation some may never come: who listens counts them.
 */
export interface LogFollower {
  /** Never rejects. */
  readonly done: Promise<FollowEnd>;
  /** Something happened to the pod: what is waited for may be there. */
  poke(): void;
  stop(): void;
}

export type FollowEnd =
  /** The container is over, and its log was read to its end after that. */
  | { kind: 'over' }
  /** There is no such pod (any more). */
  | { kind: 'gone' }
  | { kind: 'stopped' };

export interface FollowLogOptions {
  api: { pods: Pick<KubernetesApi['pods'], 'log' | 'get'> };
  pod: string;
  container: string;
  /** Where to begin; left out = at the beginning. */
  since?: Date;
  /** What was printed, without its time and LF. Lent: copy what is kept. Has to be quick: the log does not wait. */
  onLine(line: Buffer): void;
  /** What is wrong with the way, in words, not more often than is good; never the container's output. */
  onProblem(message: string): void;
  /** Whether the container has terminated for good. */
  isOver(): boolean;
  timings?: Partial<FollowTimings>;
  random?: () => number;
}

export interface FollowTimings {
  /** Silence after which a connection counts as dead: the recorder prints something every 15 s (ms). */
  idleMs: number;
  backoffMs: readonly number[];
  /** Two connections are begun at least this far apart (ms). */
  apartMs: number;
  /** How long a connection is kept at most, between these (ms). */
  lifeMs: readonly [number, number];
}

const TIMINGS: FollowTimings = {
  idleMs: 45_000,
  backoffMs: [0, 500, 1000, 2000, 4000, 8000, 15_000],
  apartMs: 250,
  lifeMs: [1_800_000, 3_600_000],
};

interface Wait {
  kind: 'wait';
  atLeastMs: number;
}

/** Begins at once. */
export function followLog(options: FollowLogOptions): LogFollower {
  const { api, pod, container, random = Math.random } = options;
  const timings = { ...TIMINGS, ...options.timings };
  const stopping = new AbortController();
  const backoff = createBackoff(timings.backoffMs, random);
  const problem = limitProblems(options.onProblem);
  const lines = createLogLines({ onLine: options.onLine, onProblem: problem });
  let poked = false;
  let wake: (() => void) | null = null;

  function sinceTime(): { sinceTime?: Date } {
    const { lastTime } = lines;
    const since = lastTime === null ? options.since : new Date(Math.floor(lastTime.getTime() / 1000) * 1000 - 2000);
    return since === undefined ? {} : { sinceTime: since };
  }

  /** One connection. Returns the end of all, or what is to be waited for until the next. */
  async function connect(): Promise<FollowEnd | 'again' | Wait> {
    // Asked before: only a log that was opened after the container's end is whole.
    const wasOver = options.isOver();
    const stream = new AbortController();
    const stop = () => stream.abort();
    const life = setTimeout(stop, between(timings.lifeMs, random));
    stopping.signal.addEventListener('abort', stop, { once: true });
    lines.begin();
    try {
      const end = await api.pods.log(
        { pod, container, follow: !wasOver, timestamps: true, ...sinceTime() },
        { idleMs: timings.idleMs, signal: stream.signal, onData: (chunk) => lines.push(chunk) },
      );
      if (end.kind === 'end' && wasOver) {
        lines.end();
        return { kind: 'over' };
      }
      if (end.kind === 'stalled') problem('the log was silent for too long: opened again');
      return end.kind === 'aborted' ? 'again' : { kind: 'wait', atLeastMs: 0 };
    } catch (error) {
      if (stopping.signal.aborted) return { kind: 'stopped' };
      return await refused(error, wasOver);
    } finally {
      clearTimeout(life);
      stopping.signal.removeEventListener('abort', stop);
    }
  }

  async function refused(error: unknown, wasOver: boolean): Promise<FollowEnd | Wait> {
    const { message } = error as Error;
    const wait: Wait = { kind: 'wait', atLeastMs: askedWait(error) };
    if (answeredWith(error, 404)) {
      // The kubelet says so as well, of a pod that it has not heard of yet after its restart.
      const isGone = await api.pods.get(pod, { signal: stopping.signal, budgetMs: 0 }).then(
        () => false,
        (asked: unknown) => answeredWith(asked, 404),
      );
      if (isGone) return { kind: 'gone' };
    }
    if (answeredWith(error, 400)) {
      if (wasOver) {
        // It ended before it ever ran: there is no log, and there will be none.
        problem(message);
        return { kind: 'over' };
      }
      if (/is waiting to start|PodInitializing|ContainerCreating/.test(message)) return wait;
    }
    problem(message);
    return wait;
  }

  async function rest(ms: number): Promise<void> {
    if (poked || ms <= 0) return;
    const resting = new AbortController();
    wake = () => resting.abort();
    await pause(ms, resting.signal);
    wake = null;
  }

  async function run(): Promise<FollowEnd> {
    while (!stopping.signal.aborted) {
      const beganAt = performance.now();
      poked = false;
      const next = await connect();
      if (next !== 'again' && next.kind !== 'wait') return next;
      if (lines.hasNews) backoff.reset();
      const least = timings.apartMs - (performance.now() - beganAt);
      if (!stopping.signal.aborted) {
        await rest(next === 'again' ? least : Math.max(least, backoff.next(), next.atLeastMs));
      }
    }
    return { kind: 'stopped' };
  }

  return {
    done: run(),
    poke: () => {
      poked = true;
      wake?.();
    },
    stop: () => {
      stopping.abort();
      wake?.();
    },
  };
}
