import { setTimeout as pause } from 'node:timers/promises';
import type { AttemptSpec } from '../../contract/attempt.ts';
import type { KubernetesSettings } from '../../contract/kubernetes.ts';
import { jobName, labels } from '../../contract/pod.ts';
import type { EndReason } from '../../contract/run.ts';
import type { Pods } from '../pods.ts';
import type { Adoption, AttemptRef, Runtime, RuntimeEvents } from '../runtime.ts';
import { attendPod, type PodAttempt } from './attempt.ts';
import { AppError, toAppError } from '../../errors.ts';
import { ApiError } from './client/api-error.ts';
import type { Job } from './client/objects.ts';
import type { Cluster } from './cluster.ts';
import { situationOf } from './diagnose.ts';
import { jobOf, secretOf, type JobPlan } from './job-spec.ts';
import { isProbe } from './preflight.ts';

export interface KubernetesRuntimeOptions {
  cluster: Cluster;
  pods: Pods;
  events: RuntimeEvents;
  settings: KubernetesSettings;
  /** The attempt door as pods reach it. */
  doorUrl: string;
  /** This database's name: only Jobs with its label are ever touched. */
  instance: string;
  version: string;
  preflight: Runtime['preflight'];
  /** How long a recorder may take to stop before its Job is deleted (ms). */
  stopGraceMs?: number;
  /** How long the log of a pod that is over may take to be read (ms). */
  drainMs?: number;
  /** How much longer than its grace a pod may take to go (ms). */
  goingMs?: number;
  reasonMs?: number;
  /** Between two looks at every attempt, although nothing was said to have changed (ms). */
  lookMs?: number;
}

/** How long the first list of Jobs and pods is waited for before a former server's attempts are judged (ms). */
const SYNC_MS = 30_000;
/** Between two tries to make a Job while the API is away (ms). */
const AGAIN_MS = 2000;
/** How long the end of the server waits for Jobs that are being made (ms): the next one finds them. */
const LEAVE_MS = 5000;

/** What is stored of an attempt to find it again. */
interface Handle {
  job: string;
  uid: string;
}

/** Attempts as Kubernetes Jobs, one each. They run on without the server, which finds them again by their labels. */
export function createKubernetesRuntime(options: KubernetesRuntimeOptions): Runtime {
  const { cluster, pods, events, settings } = options;
  const attempts = new Map<string, PodAttempt>();
  const leaving = new Set<Promise<void>>();
  /** Being made: aborted, with the reason, where they are stopped before they exist. */
  const launching = new Map<string, { stop: AbortController; done: Promise<void> }>();
  const closing = new AbortController();
  /** Jobs that expire once they have finished, and have not: since when that was seen (ms since the epoch). */
  const unfinished = new Map<string, number>();

  /** Whether a Job should have finished long ago: its attempt is over, its result and log are stored. */
  function isOverdue(attemptId: string): boolean {
    const since = unfinished.get(attemptId) ?? Date.now();
    unfinished.set(attemptId, since);
    return Date.now() - since > settings.grace_seconds * 1000 + (options.goingMs ?? 60_000);
  }

  cluster.onChange((attemptId) => attempts.get(attemptId)?.look());
  const clock = setInterval(() => {
    for (const attempt of attempts.values()) attempt.look();
  }, options.lookMs ?? 1000);
  clock.unref();

  async function attend(
    attemptId: string,
    job: string,
    { isNew, lastSeq }: { isNew: boolean; lastSeq: number },
  ): Promise<PodAttempt> {
    const attempt = attendPod({
      attemptId,
      job,
      intake: await pods.open(attemptId, null),
      cluster,
      events,
      settings,
      isNew,
      lastSeq,
      stopGraceMs: options.stopGraceMs ?? 30_000,
      drainMs: options.drainMs ?? 30_000,
      goingMs: options.goingMs ?? 60_000,
      reasonMs: options.reasonMs ?? 15_000,
    });
    attempts.set(attemptId, attempt);
    const gone = attempt.done
      .then(async () => {
        attempts.delete(attemptId);
        await pods.close(attemptId);
      })
      .finally(() => leaving.delete(gone));
    leaving.add(gone);
    if (closing.signal.aborted) attempt.leave();
    attempt.look();
    return attempt;
  }

  /** Makes the attempt's objects, for as long as the API is away; ends it where the cluster refuses them. */
  async function launch(spec: AttemptSpec, stop: AbortController): Promise<void> {
    const { attempt_id: attemptId } = spec;
    const plan: JobPlan = {
      spec,
      settings,
      namespace: cluster.namespace,
      doorUrl: options.doorUrl,
      instance: options.instance,
      version: options.version,
    };
    const refused = async (reason: EndReason, message: string) => {
      await events.ended(attemptId, { kind: 'not_started', reason, message });
      await pods.close(attemptId);
    };
    let waitsFor: string | null = null;
    for (;;) {
      if (closing.signal.aborted) return;
      if (stop.signal.aborted) {
        await refused(stop.signal.reason as EndReason, 'It was stopped before its Job was made.');
        return;
      }
      try {
        await make(plan, spec.door.token);
        break;
      } catch (error) {
        const { message } = toAppError(error);
        if (error instanceof ApiError && isFinal(error)) {
          await refused('admission_refused', `Kubernetes refused the Job: ${message}`);
          return;
        }
        if (isOurs(error)) {
          await refused('setup_failed', `The attempt could not be started: ${message}`);
          return;
        }
        if (message !== waitsFor) await events.waiting(attemptId, { reason: 'ClusterUnreachable', message });
        waitsFor = message;
        await pause(AGAIN_MS, undefined, { signal: AbortSignal.any([stop.signal, closing.signal]) }).catch(
          () => undefined,
        );
      }
    }
    // Asked to stop while its Job was being made: that came too late to prevent it, and must not come to nothing.
    if (stop.signal.aborted) attempts.get(attemptId)?.stop(stop.signal.reason as EndReason);
  }

  /** Job, Secret, go: each step finds what an earlier try has made. */
  async function make(plan: JobPlan, token: string): Promise<void> {
    const { attempt_id: attemptId } = plan.spec;
    const name = jobName(plan.spec.run_id, plan.spec.variation_id, plan.spec.attempt);
    let job: Job;
    try {
      job = await cluster.createJob(jobOf(plan));
    } catch (error) {
      if (!(error instanceof ApiError) || error.httpStatus !== 409) throw error;
      const there = await cluster.getJob(name);
      // Gone again in between, or going: tried once more.
      if (there === undefined || there.metadata.deletionTimestamp !== undefined) throw error;
      if (there.metadata.labels?.[labels.attemptId] !== attemptId)
        throw new AppError('attempt_start_failed', `There is a Job ${name} already, and it is not of this attempt.`);
      job = there;
    }
    try {
      await cluster.createSecret(secretOf(plan, job.metadata.uid, token)).catch((error: unknown) => {
        if (!(error instanceof ApiError) || error.httpStatus !== 409) throw error;
      });
      // A queue lets it go itself.
      if (settings.queue === null) await cluster.patchJob(name, { spec: { suspend: false } });
      const handle: Handle = { job: name, uid: job.metadata.uid };
      await events.started(attemptId, JSON.stringify(handle));
    } catch (error) {
      if (!(error instanceof ApiError) || isFinal(error))
        await cluster.deleteJob(name, job.metadata.uid).catch(() => undefined);
      throw error;
    }
    await attend(attemptId, name, { isNew: true, lastSeq: 0 });
  }

  async function adopt(ref: AttemptRef, found: (became: Adoption) => Promise<void>): Promise<Adoption> {
    const { attemptId } = ref;
    const handle = ref.handle === null ? null : (JSON.parse(ref.handle) as Handle);
    const isKnown = await cluster.sync(SYNC_MS);
    const name = handle?.job ?? jobName(ref.runId, ref.variation, ref.attempt);
    const job = cluster.job(name);
    const intake = await pods.open(attemptId, null);
    if (handle === null && isKnown && intake.have === 0) {
      // Its Job may exist without its Secret, and the token is known to nobody any more: it never began.
      if (job !== undefined) await cluster.deleteJob(job.metadata.name, job.metadata.uid);
      await found('not_started');
      await events.ended(attemptId, {
        kind: 'not_started',
        reason: 'lost',
        message: 'The server died before the attempt was started.',
      });
      await pods.remove(attemptId);
      return 'not_started';
    }
    const became = intake.ended ? 'finished' : job === undefined && isKnown ? 'lost' : 'running';
    await found(became);
    await attend(attemptId, name, { isNew: false, lastSeq: ref.lastSeq });
    return became;
  }

  return {
    name: 'kubernetes',
    isolation:
      'pod: a Kubernetes Job of its own, as a user without rights, no credential, no way out but to the attempt door where the cluster enforces NetworkPolicies',

    start: async (spec) => {
      const stop = new AbortController();
      await pods.open(spec.attempt_id, null);
      const done = launch(spec, stop)
        .catch((error: unknown) => {
          if (!closing.signal.aborted)
            events.transport(spec.attempt_id, `its start failed: ${toAppError(error).message}`);
        })
        .finally(() => launching.delete(spec.attempt_id));
      launching.set(spec.attempt_id, { stop, done });
    },

    adopt,

    stop: (attemptId, reason) => {
      launching.get(attemptId)?.stop.abort(reason);
      attempts.get(attemptId)?.stop(reason);
      return Promise.resolve();
    },

    prompt: (attemptId, { no }) => {
      pods.get(attemptId)?.prompt(no);
      return Promise.resolve();
    },

    patchFile: (attemptId) => pods.patchFile(attemptId),

    // What a recorder could not deliver went with its pod.
    rescue: () => Promise.resolve(null),

    remove: async (attemptId, how) => {
      const job = cluster.jobs().find((each) => attemptOf(each) === attemptId);
      if (job !== undefined) {
        const { name, uid } = job.metadata;
        // One whose agent's container never ran does not end by itself, and would never expire.
        const isStuck = situationOf(job, cluster.podsOf(attemptId)[0], settings).kind === 'waiting';
        // Nor does one whose agent holds its launcher: it was given its time, see `orphans`.
        const isLate = isExpiring(job) && !isFinished(job);
        if (how === 'now' || isStuck || isLate) await cluster.deleteJob(name, uid);
        else await cluster.patchJob(name, { spec: { ttlSecondsAfterFinished: settings.job_ttl_seconds } });
      }
      await pods.remove(attemptId);
    },

    orphans: async (known) => {
      const found = new Set(await pods.list());
      for (const job of cluster.jobs()) {
        const attemptId = attemptOf(job);
        if (attemptId === undefined || isProbe(job) || job.metadata.deletionTimestamp !== undefined) continue;
        // One that expires is looked after by the cluster, once it has finished: that takes a moment, not minutes.
        if (isExpiring(job) && (isFinished(job) || !isOverdue(attemptId))) continue;
        found.add(attemptId);
      }
      for (const attemptId of unfinished.keys())
        if (!cluster.jobs().some((job) => attemptOf(job) === attemptId && !isFinished(job)))
          unfinished.delete(attemptId);
      return [...found].filter((attemptId) => !known.has(attemptId) && !launching.has(attemptId));
    },

    preflight: options.preflight,

    close: async () => {
      closing.abort();
      clearInterval(clock);
      // What is being made comes first: it would be attended after all were told to leave.
      const made = Promise.all([...launching.values()].map(({ done }) => done));
      await Promise.race([made, pause(LEAVE_MS, undefined, { ref: false })]);
      for (const attempt of attempts.values()) attempt.leave();
      await Promise.all(leaving);
      await pods.release();
      await cluster.close();
    },
  };
}

function isExpiring(job: Job): boolean {
  return job.spec?.ttlSecondsAfterFinished !== undefined;
}

function isFinished(job: Job): boolean {
  return (job.status?.conditions ?? []).some(
    ({ type, status }) => status === 'True' && (type === 'Complete' || type === 'Failed'),
  );
}

function attemptOf(job: Job): string | undefined {
  return job.metadata.labels?.[labels.attemptId];
}

/** Not the cluster's doing: it would fail the same way for ever. */
function isOurs(error: unknown): boolean {
  return !(error instanceof AppError && error.code === 'cluster_unreachable');
}

/** Whether the same request would be refused again. */
function isFinal(error: ApiError): boolean {
  const { httpStatus } = error;
  return httpStatus >= 400 && httpStatus < 500 && ![401, 408, 409, 429].includes(httpStatus);
}
