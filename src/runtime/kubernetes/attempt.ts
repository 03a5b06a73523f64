import { setTimeout as pause } from 'node:timers/promises';
import type { Eof } from '../../contract/attempt.ts';
import type { KubernetesSettings } from '../../contract/kubernetes.ts';
import type { EndReason } from '../../contract/run.ts';
import { toAppError } from '../../errors.ts';
import { followJournal } from '../follower.ts';
import type { Intake } from '../pods.ts';
import type { AttemptEnd, RuntimeEvents } from '../runtime.ts';
import type { Pod } from './client/objects.ts';
import type { Cluster, LogFollow } from './cluster.ts';
import {
  endOf,
  isOver,
  obstacleInEvents,
  recorderStatus,
  situationOf,
  type Obstacle,
  type Situation,
  type Why,
} from './diagnose.ts';

/** One attempt in a pod, from the Job that exists to its end: level-triggered, so that what was missed changes nothing. */
export interface PodAttempt {
  /** Looks at what the cluster says now, and does what follows. Cheap; never rejects; never twice at once. */
  look(): void;
  /** Asks for the end: first the recorder, then, after its time, by deleting the Job. The first reason stands. */
  stop(reason: EndReason): void;
  /** Follows no longer. The attempt runs on. */
  leave(): void;
  /** Resolves when its end was told, or it was left. Never rejects. */
  readonly done: Promise<void>;
}

export interface PodAttemptOptions {
  attemptId: string;
  job: string;
  intake: Intake;
  cluster: Cluster;
  events: RuntimeEvents;
  settings: KubernetesSettings;
  /** Whether its Job was made just now: the watch may not have it yet, which does not mean that it is gone. */
  isNew: boolean;
  /** What is stored already. */
  lastSeq: number;
  /** How long a recorder may take to stop before its Job is deleted (ms). */
  stopGraceMs: number;
  /** How long the log of a pod that is over may take to be read (ms): its node may be gone. */
  drainMs: number;
  /** How much longer than its grace a pod may take to go (ms): after that its node is not answering. */
  goingMs: number;
  /** How long the reason for an end that the recorder could not know may take to show in what Kubernetes says (ms). */
  reasonMs: number;
  now?: () => number;
}

/** What only events tell of is asked for after so long (ms), and then again as often. */
const EVENTS_AFTER_MS = 3000;

export function attendPod(options: PodAttemptOptions): PodAttempt {
  const { attemptId, job: jobName, intake, cluster, events, settings } = options;
  const now = options.now ?? Date.now;
  const left = new AbortController();
  /** The journal will not grow any more. */
  let drained = false;
  let log: { pod: string; follow: LogFollow } | null = null;
  let lastPod: Pod | undefined;
  let jobWasSeen = !options.isNew;
  let jobAskedAt = now();
  /** Since when the same obstacle has stood. */
  let obstacle: { what: Obstacle; since: number } | null = null;
  let pendingSince: number | null = null;
  let goingSince: number | null = null;
  let eventsAskedAt = 0;
  /** Why it is stopped: by somebody, or by us because it cannot start. */
  let stopping: { reason: EndReason; message: string | null; since: number; deleted: boolean } | null = null;
  /** The last that was said about its end, for when the pod is gone. */
  let lastEnd: Why | null = null;
  let looking = false;
  let again = false;

  function podNow(): Pod | undefined {
    const pods = cluster.podsOf(attemptId);
    // Kubernetes may start a Job's pod twice. The one that claimed the attempt is it; before that, the newest.
    const mine =
      intake.podUid === null
        ? pods.toSorted((a, b) => created(b) - created(a))[0]
        : pods.find(({ metadata }) => metadata.uid === intake.podUid);
    if (mine !== undefined) lastPod = mine;
    return mine;
  }

  function situation(): Situation {
    const pod = podNow();
    const job = cluster.job(jobName);
    const found = situationOf(job, pod, settings);
    if (pod === undefined && lastPod !== undefined) {
      // It was there and is gone: what was said last, else that somebody took it away.
      if (lastEnd === null || lastEnd.open === true) {
        const deletionTimestamp = lastPod.metadata.deletionTimestamp ?? 'unknown';
        lastEnd = endOf(job, { ...lastPod, metadata: { ...lastPod.metadata, deletionTimestamp } });
      }
      return { kind: 'over', ...lastEnd };
    }
    if (found.kind === 'ending' || found.kind === 'over') {
      const { kind: _, ...why } = found;
      lastEnd = why;
    }
    if (found.kind === 'ending' && pod?.metadata.deletionTimestamp !== undefined) {
      // By our own clock: the API server's may be another. A kubelet that does not answer leaves a pod like that for ever.
      goingSince ??= now();
      if (now() - goingSince > settings.grace_seconds * 1000 + options.goingMs) {
        const reason = found.reason === 'job_deleted' ? 'node_lost' : found.reason;
        lastEnd = { reason, message: `${found.message} Its node does not answer.` };
        return { kind: 'over', ...lastEnd };
      }
    }
    return found;
  }

  function followLog(): void {
    const pod = lastPod;
    const recorder = pod === undefined ? undefined : recorderStatus(pod);
    if (pod === undefined || log !== null) {
      log?.follow.poke();
      return;
    }
    if (recorder?.state?.running === undefined && recorder?.state?.terminated === undefined) return;
    const { name, uid } = pod.metadata;
    const follow = cluster.followLog(name, {
      onLine: (line) => {
        if (!intake.offer(line)) events.transport(attemptId, `not an envelope in the log of ${name}`);
      },
      onProblem: (message) => events.transport(attemptId, `log of ${name}: ${message}`),
      isOver: () => {
        const current = cluster.podsOf(attemptId).find((each) => each.metadata.uid === uid);
        return current === undefined || isOver(current);
      },
    });
    log = { pod: name, follow };
  }

  async function step(): Promise<void> {
    if (drained || left.signal.aborted || !cluster.synced) return;
    if (!(await isThere())) return;
    const found = situation();
    followLog();
    switch (found.kind) {
      case 'waiting':
        await wait(found.obstacle);
        break;
      case 'running':
        obstacle = null;
        pendingSince = null;
        break;
      case 'ending':
        break;
      case 'over':
        await drain();
        return;
    }
    await enforceStop(found);
  }

  /** Whether there is a Job to judge: one that was just made is asked for before its absence means anything. */
  async function isThere(): Promise<boolean> {
    jobWasSeen ||= cluster.job(jobName) !== undefined;
    if (jobWasSeen) return true;
    if (now() - jobAskedAt < EVENTS_AFTER_MS) return false;
    jobAskedAt = now();
    // Where the API does not answer, nothing is known.
    const job = await cluster.getJob(jobName).catch(() => null);
    jobWasSeen = job === undefined;
    return jobWasSeen;
  }

  /** It has not begun: says why, and ends it where that has lasted too long. */
  async function wait(seen: Obstacle | null): Promise<void> {
    pendingSince ??= now();
    let what = seen;
    const waited = now() - pendingSince;
    if (what === null && waited >= EVENTS_AFTER_MS && stopping === null) {
      // The API shows it in no status: asked for now and then, kept in between.
      if (now() - eventsAskedAt >= EVENTS_AFTER_MS) {
        eventsAskedAt = now();
        const uid = lastPod?.metadata.uid ?? cluster.job(jobName)?.metadata.uid;
        what = uid === undefined ? null : obstacleInEvents(await cluster.eventsOf(uid).catch(() => []), settings);
        what ??= slowStart(settings);
      } else {
        what = obstacle?.what ?? null;
      }
    }
    if (what === null) return;
    const changed = obstacle?.what.reason !== what.reason || obstacle.what.message !== what.message;
    // A pull that fails goes back and forth between two words, and is one obstacle.
    const since = obstacle?.what.becomes === what.becomes ? obstacle.since : now();
    obstacle = { what, since };
    if (changed && what.reason !== SLOW)
      await events.waiting(attemptId, { reason: what.reason, message: what.message });
    if (what.limit === null || now() - since < what.limit * 1000 || stopping !== null) return;
    const seconds = Math.round((now() - since) / 1000);
    const message = `${what.message}${what.limit === 0 ? '' : ` (for ${seconds} s)`}`;
    askToStop(what.becomes, message);
  }

  function askToStop(reason: EndReason, message: string | null): void {
    if (stopping !== null) return;
    stopping = { reason, message, since: now(), deleted: false };
    intake.stop(reason);
  }

  async function enforceStop(found: Situation): Promise<void> {
    if (stopping === null || stopping.deleted || intake.ended) return;
    // A recorder that has not claimed the attempt has nothing to save.
    const isLate = now() - stopping.since >= options.stopGraceMs;
    const hasNothing = found.kind === 'waiting' && intake.podUid === null;
    if (!isLate && !hasNothing) return;
    stopping.deleted = true;
    try {
      await cluster.deleteJob(jobName, cluster.job(jobName)?.metadata.uid);
      if (hasNothing && intake.podUid === null) await drain();
    } catch (error) {
      // The API is away or refuses: stop means stop, so it is tried for as long as it takes.
      stopping.deleted = false;
      events.transport(attemptId, `its Job could not be deleted: ${toAppError(error).message}`);
    }
  }

  /** Nothing of it runs any more: what its log still has is read, and what is missing is given up. */
  async function drain(): Promise<void> {
    if (log !== null) {
      await Promise.race([log.follow.done, aborted(left.signal), pause(options.drainMs)]);
      log.follow.stop();
    }
    if (left.signal.aborted) return;
    if (!intake.ended) await intake.giveUp();
    drained = true;
  }

  function look(): void {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    step()
      .catch((error: unknown) => events.transport(attemptId, `looking at its pod failed: ${toAppError(error).message}`))
      .finally(() => {
        looking = false;
        if (!again) return;
        again = false;
        look();
      });
  }

  /** What the recorder could not know: why its pod was ended, or why the agent's container was gone. */
  async function refine(eof: Eof): Promise<Eof> {
    if (stopping?.message != null && eof.reason === stopping.reason) return { ...eof, message: stopping.message };
    const isOpen = eof.reason === 'terminated' || (eof.reason === 'agent_exit' && eof.exit === null);
    const why = isOpen ? await whyAfterAll() : null;
    if (why === null) return eof;
    // Stopped by us through the Job: why is known better than that it was deleted.
    const { reason, message } = why.reason === 'job_deleted' && stopping !== null ? stopping : why;
    return { ...eof, reason, message };
  }

  /** Why it ended, once that is certain or has been waited for long enough; null where nothing says so. */
  async function whyAfterAll(): Promise<Why | null> {
    let why: Why | null = null;
    for (const until = now() + options.reasonMs; now() < until; await pause(Math.min(250, options.reasonMs / 4))) {
      const found = cluster.synced ? situation() : null;
      if (found?.kind !== 'ending' && found?.kind !== 'over') continue;
      why = found;
      if (why.open !== true) break;
    }
    return why;
  }

  async function lostBecause(message: string): Promise<AttemptEnd> {
    if (lastEnd?.open === true) await whyAfterAll();
    if (stopping !== null && intake.have === 0) {
      const words = stopping.message ?? 'It was stopped before it had begun.';
      return { kind: 'not_started', reason: stopping.reason, message: words };
    }
    const why = lastEnd ?? (lastPod === undefined ? null : endOf(cluster.job(jobName), lastPod));
    if (stopping !== null) return { kind: 'lost', reason: stopping.reason, message: stopping.message ?? message };
    if (why === null) return { kind: 'lost', message };
    if (intake.have === 0) return { kind: 'not_started', reason: why.reason, message: why.message };
    return { kind: 'lost', reason: why.reason, message: `${why.message} ${message}` };
  }

  async function attend(): Promise<void> {
    let end: AttemptEnd | null;
    try {
      end = await followJournal({
        attemptId,
        journal: intake.journal,
        lastSeq: options.lastSeq,
        isAlive: () => !drained,
        onBatch: (batch) => events.batch(attemptId, batch),
        onTransport: (message) => events.transport(attemptId, message),
        signal: left.signal,
      });
    } catch (error) {
      if (left.signal.aborted) return;
      const message = `Its journal could not be followed: ${toAppError(error).message}`;
      events.transport(attemptId, message);
      end = { kind: 'lost', message };
    }
    if (end === null) return;
    if (end.kind === 'eof') end = { ...end, eof: await refine(end.eof) };
    else end = await lostBecause(end.message);
    drained = true;
    log?.follow.stop();
    await events.ended(attemptId, end);
  }

  const done = attend().catch((error: unknown) => {
    if (!left.signal.aborted)
      events.transport(attemptId, `its end could not be written down: ${toAppError(error).message}`);
  });

  return {
    look,
    stop: (reason) => {
      askToStop(reason, null);
      look();
    },
    leave: () => {
      left.abort();
      log?.follow.stop();
    },
    done,
  };
}

const SLOW = 'Starting';

/** Nothing is known to be in its way, and it does not start all the same. */
function slowStart({ start_timeouts: limits }: KubernetesSettings): Obstacle {
  return {
    reason: SLOW,
    message: 'The pod did not start, and Kubernetes does not say why',
    becomes: 'init_failed',
    limit: limits.start,
  };
}

function created(pod: Pod): number {
  return Date.parse(pod.metadata.creationTimestamp ?? '') || 0;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
