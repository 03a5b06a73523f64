import { randomUUID } from 'node:crypto';
import { labels } from '../../src/contract/pod.ts';
import { AppError } from '../../src/errors.ts';
import { ApiError } from '../../src/runtime/kubernetes/client/api-error.ts';
import type { ContainerState, Job, KubernetesEvent, Pod } from '../../src/runtime/kubernetes/client/objects.ts';
import type { Cluster, FollowOptions } from '../../src/runtime/kubernetes/cluster.ts';

/**
 * A cluster whose moves a test makes: for what a real one does only after minutes, or by accident. What it says has the shape that a
 * real one of 1.34 showed; the real one itself is in test/kubernetes.
 */
export interface PlayedCluster extends Cluster {
  /** What was asked of the API, in order, e.g. `create job agent-…`, `delete job agent-…`. */
  readonly asked: string[];
  /** Bodies of Jobs and Secrets that were made. */
  readonly made: { kind: string; metadata: { name: string } }[];
  /** Makes every call fail like this, until it is null again. */
  failing: Error | null;
  /** Puts a pod of a Job there, or changes its status. */
  pod(jobName: string, status: Pod['status'], more?: Partial<Pod['metadata']>): Pod;
  removePod(uid: string): void;
  changeJob(name: string, change: Partial<Job>): void;
  removeJob(name: string): void;
  /** What the recorder's container prints, to whoever follows it. */
  print(podName: string, line: Buffer): void;
  events: KubernetesEvent[];
  /** Those that follow a log now. */
  following(podName: string): number;
}

export const state = {
  running: { running: { startedAt: '2026-11-28T07:00:00Z' } } satisfies ContainerState,
  ended: (exitCode: number, reason = exitCode === 0 ? 'Completed' : 'Error'): ContainerState => ({
    terminated: { exitCode, reason },
  }),
};

/** A pod's status with its two containers. */
export function statusOf(
  phase: NonNullable<NonNullable<Pod['status']>['phase']>,
  recorder: ContainerState,
  agent: ContainerState,
): NonNullable<Pod['status']> {
  const of = (name: string, each: ContainerState) => ({ name, ready: false, restartCount: 0, state: each });
  return { phase, initContainerStatuses: [of('recorder', recorder)], containerStatuses: [of('agent', agent)] };
}

export function playCluster(): PlayedCluster {
  const jobs = new Map<string, Job>();
  const pods = new Map<string, Pod>();
  const listeners: ((attemptId: string) => void)[] = [];
  const logs = new Map<string, Set<{ options: FollowOptions; finish(): void }>>();
  const tell = (object: Job | Pod) => {
    const attemptId = object.metadata.labels?.[labels.attemptId];
    if (attemptId !== undefined) for (const listener of listeners) listener(attemptId);
    // A log that is followed is read to its end when its container is over.
    for (const follows of logs.values())
      for (const each of follows) {
        if (!each.options.isOver()) continue;
        follows.delete(each);
        each.finish();
      }
  };
  const ask = (what: string) => {
    cluster.asked.push(what);
    if (cluster.failing !== null) throw cluster.failing;
  };
  const conflict = (name: string) =>
    new ApiError('POST', {
      httpStatus: 409,
      text: '',
      body: { kind: 'Status', reason: 'AlreadyExists', message: `"${name}" already exists` },
      retryAfterSeconds: null,
    });

  const cluster: PlayedCluster = {
    namespace: 'agents',
    synced: true,
    sync: () => Promise.resolve(true),
    asked: [],
    made: [],
    failing: null,
    events: [],
    job: (name) => jobs.get(name),
    jobs: () => [...jobs.values()],
    podsOf: (attemptId) => [...pods.values()].filter((pod) => pod.metadata.labels?.[labels.attemptId] === attemptId),
    onChange: (listener) => void listeners.push(listener),
    createJob: async (body) => {
      // What is sent has no uid yet; all that a Job says of itself it has.
      const given = body as unknown as Job;
      ask(`create job ${given.metadata.name}`);
      if (jobs.has(given.metadata.name)) throw conflict(given.metadata.name);
      const job: Job = {
        ...given,
        metadata: {
          ...given.metadata,
          uid: randomUUID(),
          resourceVersion: '1',
          creationTimestamp: new Date().toISOString(),
        },
      };
      cluster.made.push(body);
      jobs.set(job.metadata.name, job);
      tell(job);
      return job;
    },
    createSecret: async (body) => {
      const given = body;
      ask(`create secret ${given.metadata.name}`);
      cluster.made.push(given);
    },
    getJob: async (name) => {
      ask(`get job ${name}`);
      return jobs.get(name);
    },
    patchJob: async (name, patch) => {
      ask(`patch job ${name} ${JSON.stringify(patch)}`);
      const job = jobs.get(name);
      if (job !== undefined) cluster.changeJob(name, { spec: { ...job.spec, ...(patch as Pick<Job, 'spec'>).spec } });
    },
    deleteJob: async (name) => {
      ask(`delete job ${name}`);
      const job = jobs.get(name);
      if (job === undefined) return;
      cluster.changeJob(name, { metadata: { ...job.metadata, deletionTimestamp: new Date().toISOString() } });
    },
    eventsOf: async (uid) => {
      ask(`events ${uid}`);
      return cluster.events;
    },
    followLog: (podName, options) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const follows = logs.get(podName) ?? new Set();
      logs.set(podName, follows);
      const each = { options, finish: resolve };
      follows.add(each);
      if (options.isOver()) {
        follows.delete(each);
        resolve();
      }
      const stop = () => {
        follows.delete(each);
        resolve();
      };
      return { done: promise, poke: () => undefined, stop };
    },
    close: () => Promise.resolve(),
    pod: (jobName, status, more = {}) => {
      const job = jobs.get(jobName);
      if (job === undefined) throw new AppError('internal', `there is no Job ${jobName}`);
      const uid = more.uid ?? `uid-of-${jobName}`;
      const pod: Pod = {
        metadata: {
          name: `${jobName}-x7k2p`,
          namespace: 'agents',
          resourceVersion: '1',
          creationTimestamp: new Date().toISOString(),
          labels: job.metadata.labels ?? {},
          ...more,
          uid,
        },
        spec: {},
        ...(status === undefined ? {} : { status }),
      };
      pods.set(uid, pod);
      tell(pod);
      return pod;
    },
    removePod: (uid) => {
      const pod = pods.get(uid);
      pods.delete(uid);
      if (pod !== undefined) tell(pod);
    },
    changeJob: (name, change) => {
      const job = jobs.get(name);
      if (job === undefined) return;
      jobs.set(name, { ...job, ...change });
      tell(job);
    },
    removeJob: (name) => {
      const job = jobs.get(name);
      jobs.delete(name);
      if (job !== undefined) tell(job);
    },
    print: (podName, line) => {
      for (const { options } of logs.get(podName) ?? []) options.onLine(line);
    },
    following: (podName) => logs.get(podName)?.size ?? 0,
  };
  return cluster;
}
