import { describe, expect, it } from 'vitest';
import { kubernetesSettings } from '../../contract/kubernetes.ts';
import type { ContainerState, Job, KubernetesEvent, Pod } from './client/objects.ts';
import { obstacleInEvents, situationOf } from './diagnose.ts';

/** Statuses as a 1.34 cluster showed them. */

const settings = kubernetesSettings.parse({});
const metadata = {
  name: 'agent-k3xyzabcde-0',
  namespace: 'agents',
  uid: 'u',
  resourceVersion: '1',
  creationTimestamp: '2026-11-28T07:00:00Z',
};
const job = (more: Partial<Job> = {}): Job => ({ metadata, spec: { suspend: false }, ...more });
const failedJob = (reason: string, message = ''): Job =>
  job({ status: { conditions: [{ type: 'Failed', status: 'True', reason, message }] } });

function pod(status: Pod['status'], more: Partial<Pod['metadata']> = {}): Pod {
  return { metadata: { ...metadata, ...more }, spec: {}, ...(status === undefined ? {} : { status }) };
}
const container = (name: string, state: ContainerState) => ({ name, ready: false, restartCount: 0, state });
const agent = (state: ContainerState) => ({ containerStatuses: [container('agent', state)] });
const recorderRuns = { initContainerStatuses: [container('recorder', { running: {} })] };
const ended = (exitCode: number, reason: string): ContainerState => ({ terminated: { exitCode, reason } });

describe('a pod that cannot start', () => {
  const scheduled = (status: 'False', reason: string, message: string) => ({
    phase: 'Pending' as const,
    conditions: [{ type: 'PodScheduled', status, reason, message }],
  });
  it.each([
    [
      'unschedulable',
      scheduled('False', 'Unschedulable', '0/1 nodes are available: 1 Insufficient cpu.'),
      /Insufficient cpu/,
    ],
    [
      'image_pull_failed',
      {
        phase: 'Pending' as const,
        ...recorderRuns,
        ...agent({ waiting: { reason: 'ErrImagePull', message: 'not found' } }),
      },
      /ErrImagePull: not found/,
    ],
    [
      'image_invalid',
      { phase: 'Pending' as const, ...agent({ waiting: { reason: 'InvalidImageName', message: 'couldn’t parse' } }) },
      /couldn/,
    ],
    [
      'pod_config_error',
      {
        phase: 'Pending' as const,
        ...agent({ waiting: { reason: 'CreateContainerConfigError', message: 'secret "x" not found' } }),
      },
      /secret "x" not found/,
    ],
    [
      'init_failed',
      {
        phase: 'Pending' as const,
        initContainerStatuses: [
          {
            ...container('recorder', { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } }),
            lastState: ended(1, 'Error'),
          },
        ],
      },
      /back-off 10s \(it ended before: Error, exit code 1\)/,
    ],
  ])('would be %s after its time', (becomes, status, words) => {
    const found = situationOf(job(), pod(status), settings);
    expect(found).toMatchObject({ kind: 'waiting', obstacle: { becomes } });
    expect(found.kind === 'waiting' && found.obstacle?.message).toMatch(words);
  });

  it('is not hurried while its containers are being made, or while a gate holds it', () => {
    const making = { phase: 'Pending' as const, ...agent({ waiting: { reason: 'ContainerCreating' } }) };
    expect(situationOf(job(), pod(making), settings)).toEqual({ kind: 'waiting', obstacle: null });
    const gated = situationOf(job(), pod(scheduled('False', 'SchedulingGated', 'by a gate')), settings);
    expect(gated).toMatchObject({ obstacle: { limit: null } });
  });

  it('waits for its queue for as long as that takes', () => {
    const suspended = job({ spec: { suspend: true } });
    expect(situationOf(suspended, undefined, { ...settings, queue: 'team-a' })).toMatchObject({
      kind: 'waiting',
      obstacle: { reason: 'Suspended', limit: null },
    });
    expect(situationOf(suspended, undefined, settings)).toEqual({ kind: 'waiting', obstacle: null });
  });

  it('is explained by events where its status says nothing', () => {
    const event = (reason: string, message: string, at: string): KubernetesEvent => ({
      metadata,
      reason,
      message,
      lastTimestamp: at,
      involvedObject: {},
    });
    const quota = event('FailedCreate', 'pods "a" is forbidden: exceeded quota: none', '2026-11-28T07:00:01Z');
    const mount = event('FailedMount', 'secret "agent-x" not found', '2026-11-28T07:00:02Z');
    expect(obstacleInEvents([quota], settings)).toMatchObject({ becomes: 'admission_refused' });
    expect(obstacleInEvents([quota, mount], settings)).toMatchObject({ becomes: 'pod_config_error' });
    expect(obstacleInEvents([event('Pulled', 'there', '2026-11-28T07:00:03Z')], settings)).toBeNull();
    // A busy kubelet says it once, and then mounts it: what comes behind stands in no mount's way.
    const mounted = event('Pulling', 'on its way', mount.lastTimestamp ?? '');
    expect(obstacleInEvents([mount, mounted], settings)).toBeNull();
    expect(obstacleInEvents([mounted, mount], settings)).toBeNull();
  });
});

describe('a pod that ends', () => {
  const disrupted = (reason: string) => ({
    phase: 'Failed' as const,
    conditions: [{ type: 'DisruptionTarget', status: 'True' as const, reason, message: 'because' }],
  });
  it.each([
    ['oom_killed', job(), { phase: 'Failed' as const, ...agent(ended(137, 'OOMKilled')) }],
    ['evicted', job(), { phase: 'Failed' as const, reason: 'Evicted', message: 'The node was low on resource' }],
    ['evicted', job(), disrupted('EvictionByEvictionAPI')],
    ['evicted', job(), disrupted('TerminationByKubelet')],
    ['preempted', job(), disrupted('PreemptionByScheduler')],
    ['node_lost', job(), disrupted('DeletionByTaintManager')],
    ['deadline_exceeded', failedJob('DeadlineExceeded'), { phase: 'Failed' as const }],
    ['agent_exit', failedJob('BackoffLimitExceeded'), { phase: 'Failed' as const, ...agent(ended(3, 'Error')) }],
    ['job_deleted', undefined, { phase: 'Failed' as const }],
    ['terminated', job(), { phase: 'Failed' as const }],
  ])('is %s', (reason, ofJob, status) => {
    expect(situationOf(ofJob, pod(status), settings)).toMatchObject({ kind: 'over', reason });
  });

  it('is told apart from one that is still going', () => {
    const going = pod({ phase: 'Running', ...agent({ running: {} }) }, { deletionTimestamp: '2026-11-28T07:05:00Z' });
    expect(situationOf(job(), going, settings)).toMatchObject({ kind: 'ending', reason: 'job_deleted' });
    const draining = pod({ phase: 'Running', ...recorderRuns, ...agent(ended(0, 'Completed')) });
    expect(situationOf(job(), draining, settings)).toMatchObject({ kind: 'ending' });
    expect(situationOf(job(), pod({ phase: 'Running', ...agent({ running: {} }) }), settings)).toEqual({
      kind: 'running',
    });
  });

  it('that nobody can be asked about any more was deleted, or its Job says why', () => {
    expect(situationOf(undefined, undefined, settings)).toMatchObject({ kind: 'over', reason: 'job_deleted' });
    expect(situationOf(failedJob('DeadlineExceeded', 'was active longer'), undefined, settings)).toMatchObject({
      kind: 'over',
      reason: 'deadline_exceeded',
    });
  });
});
