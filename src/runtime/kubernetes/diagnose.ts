import type { KubernetesSettings } from '../../contract/kubernetes.ts';
import { pod as podShape } from '../../contract/pod.ts';
import type { EndReason } from '../../contract/run.ts';
import type { ContainerStatus, Job, KubernetesEvent, Pod } from './client/objects.ts';

/**
 * What Kubernetes says of an attempt, in our words: pure functions of what the API showed. Messages are Kubernetes' own.
 */

/** What stands in the way of a pod's start, and what it becomes if it stays there for longer than its time. */
export interface Obstacle {
  /** Kubernetes' word for it: `Unschedulable`, `ImagePullBackOff`, … */
  reason: string;
  message: string;
  becomes: EndReason;
  /** Seconds it may stand; null = for as long as it takes (a queue's own business). */
  limit: number | null;
}

export type Situation =
  /** It has not begun. */
  | { kind: 'waiting'; obstacle: Obstacle | null }
  /** The agent's container runs. */
  | { kind: 'running' }
  /** It is being taken away, or its container has ended: what still comes is the rest. */
  | ({ kind: 'ending' } & Why)
  /** Nothing of it runs, and nothing will. */
  | ({ kind: 'over' } & Why);

export interface Why {
  reason: EndReason;
  message: string;
  /**
   * The Job has not spoken yet: its controller deletes the pods of a Job that is too late first, and says why afterwards
   * (pkg/controller/job/job_controller.go, syncJob).
   */
  open?: true;
}

/**
 * @param job undefined where there is none (any more)
 * @param pod the attempt's pod; undefined where there is none (yet, or any more)
 */
export function situationOf(
  job: Job | undefined,
  pod: Pod | undefined,
  settings: Pick<KubernetesSettings, 'start_timeouts' | 'queue'>,
): Situation {
  if (pod === undefined) {
    if (job === undefined) return { kind: 'over', reason: 'job_deleted', message: 'The Job is gone.' };
    return withoutPod(job, settings);
  }
  const end = endOf(job, pod);
  if (isOver(pod)) return { kind: 'over', ...end };
  if (pod.metadata.deletionTimestamp !== undefined || agentStatus(pod)?.state?.terminated !== undefined)
    return { kind: 'ending', ...end };
  if (agentStatus(pod)?.state?.running !== undefined) return { kind: 'running' };
  return { kind: 'waiting', obstacle: obstacleOf(pod, settings) };
}

function withoutPod(job: Job, settings: Pick<KubernetesSettings, 'start_timeouts' | 'queue'>): Situation {
  const failed = conditionOf(job, 'Failed');
  if (failed !== undefined) return { kind: 'over', ...ofJob(failed) };
  if (job.metadata.deletionTimestamp !== undefined)
    return { kind: 'over', reason: 'job_deleted', message: 'The Job was deleted.' };
  if (job.spec?.suspend === true) {
    if (settings.queue === null) return { kind: 'waiting', obstacle: null };
    const message = `The queue ${settings.queue} has not admitted the Job.`;
    return { kind: 'waiting', obstacle: { reason: 'Suspended', message, becomes: 'admission_refused', limit: null } };
  }
  const said = conditionOf(job, 'FailureTarget');
  if (said !== undefined) return { kind: 'over', ...ofJob(said) };
  return { kind: 'waiting', obstacle: null };
}

function ofJob(condition: { reason?: string | undefined; message?: string | undefined }): Why {
  const reason = condition.reason === 'DeadlineExceeded' ? 'deadline_exceeded' : 'terminated';
  return { reason, message: `The Job failed: ${condition.message ?? condition.reason ?? 'without a word'}` };
}

/** Whether all of a pod's containers are over for good. */
export function isOver(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

function obstacleOf(pod: Pod, { start_timeouts: limits }: Pick<KubernetesSettings, 'start_timeouts'>): Obstacle | null {
  const scheduled = conditionOf(pod, 'PodScheduled');
  if (scheduled?.status === 'False') {
    const reason = scheduled.reason ?? 'Unschedulable';
    const message = `${reason}: ${scheduled.message ?? 'no node takes the pod'}`;
    if (reason === 'SchedulingGated') return { reason, message, becomes: 'unschedulable', limit: null };
    return { reason, message, becomes: 'unschedulable', limit: limits.unschedulable };
  }
  for (const status of statusesOf(pod)) {
    const { waiting } = status.state ?? {};
    const reason = waiting?.reason;
    if (reason === undefined || reason === 'ContainerCreating' || reason === 'PodInitializing') continue;
    // A back-off repeats itself in every word; what was wrong the last time says more.
    const last = status.lastState?.terminated;
    const message = `${reason}: ${waiting?.message ?? `container ${status.name}`}${
      last === undefined
        ? ''
        : ` (it ended before: ${last.reason ?? 'Error'}, exit code ${last.exitCode}${said(last.message)})`
    }`;
    return { reason, message, ...fateOf(reason, limits) };
  }
  return null;
}

/** What becomes of a pod that waits for a reason of its containers'. The words are the kubelet's (pkg/kubelet/images, kuberuntime). */
function fateOf(reason: string, limits: KubernetesSettings['start_timeouts']): Pick<Obstacle, 'becomes' | 'limit'> {
  switch (reason) {
    case 'InvalidImageName':
      return { becomes: 'image_invalid', limit: 0 };
    case 'ErrImagePull':
    case 'ImagePullBackOff':
    case 'ErrImageNeverPull':
    case 'ImageInspectError':
    case 'RegistryUnavailable':
    case 'SignatureValidationFailed':
      return { becomes: 'image_pull_failed', limit: limits.image_pull };
    case 'CreateContainerConfigError':
    case 'CreateContainerError':
      return { becomes: 'pod_config_error', limit: limits.config };
    default:
      return { becomes: 'init_failed', limit: limits.start };
  }
}

/**
 * What only events tell: a Job whose pod is refused (quota, admission), a pod whose volumes cannot be mounted (a Secret that is
 * missing). Null where they tell of nothing in the way.
 */
export function obstacleInEvents(
  events: readonly KubernetesEvent[],
  { start_timeouts: limits }: Pick<KubernetesSettings, 'start_timeouts'>,
): Obstacle | null {
  // Times are whole seconds: of two that are the same, the one that tells of progress is the later.
  const newest = events.toSorted((a, b) => timeOf(b) - timeOf(a) || Number(isProgress(b)) - Number(isProgress(a)));
  for (const event of newest) {
    const { reason = '', message = '' } = event;
    // What had failed before this has worked since.
    if (isProgress(event)) return null;
    switch (reason) {
      case 'FailedCreate':
        return { reason, message: `${reason}: ${message}`, becomes: 'admission_refused', limit: limits.admission };
      case 'FailedMount':
      case 'FailedAttachVolume':
        return { reason, message: `${reason}: ${message}`, becomes: 'pod_config_error', limit: limits.config };
      case 'FailedCreatePodSandBox':
      case 'FailedPostStartHook':
        return { reason, message: `${reason}: ${message}`, becomes: 'init_failed', limit: limits.start };
      default:
    }
  }
  return null;
}

/** Of a Job: its pod was made. Of a pod: its volumes are mounted and its sandbox stands, for it is at its images and containers. */
function isProgress({ reason = '' }: KubernetesEvent): boolean {
  return ['SuccessfulCreate', 'Pulling', 'Pulled', 'Created', 'Started'].includes(reason);
}

function timeOf(event: KubernetesEvent): number {
  return Date.parse(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp ?? '') || 0;
}

/** Why a pod ended, or is about to: the most particular that can be said. */
export function endOf(job: Job | undefined, pod: Pod): Why {
  const { status } = pod;
  const disrupted = conditionOf(pod, 'DisruptionTarget');
  const words = (prefix: string, text: string | undefined) =>
    `${prefix}${text === undefined || text === '' ? '.' : `: ${text}`}`;
  const agent = agentStatus(pod)?.state?.terminated;
  if (agent?.reason === 'OOMKilled')
    return { reason: 'oom_killed', message: 'The agent needed more memory than its limit (OOMKilled).' };
  if (status?.reason === 'Evicted') return { reason: 'evicted', message: words('The pod was evicted', status.message) };
  if (status?.reason === 'NodeLost')
    return { reason: 'node_lost', message: words('The node was lost', status.message) };
  if (disrupted?.status === 'True') {
    switch (disrupted.reason) {
      case 'PreemptionByScheduler':
        return { reason: 'preempted', message: words('The pod was preempted', disrupted.message) };
      case 'DeletionByTaintManager':
      case 'DeletionByPodGC':
        return { reason: 'node_lost', message: words('The node was lost', disrupted.message) };
      default:
        return {
          reason: 'evicted',
          message: words(`The pod was evicted (${disrupted.reason ?? ''})`, disrupted.message),
        };
    }
  }
  const failed = job === undefined ? undefined : (conditionOf(job, 'FailureTarget') ?? conditionOf(job, 'Failed'));
  if (failed?.reason === 'DeadlineExceeded' || status?.reason === 'DeadlineExceeded')
    return {
      reason: 'deadline_exceeded',
      message: words('The Job’s own deadline passed', failed?.message ?? status?.message),
    };
  const recorder = statusesOf(pod).find(({ name }) => name === podShape.recorder.name)?.state?.terminated;
  if (recorder?.reason === 'OOMKilled')
    return { reason: 'lost', message: 'The recorder needed more memory than its limit (OOMKilled).' };
  if (job === undefined || job.metadata.deletionTimestamp !== undefined)
    return { reason: 'job_deleted', message: 'The Job was deleted.' };
  if (pod.metadata.deletionTimestamp !== undefined)
    return { reason: 'job_deleted', message: 'The pod was deleted.', ...(failed === undefined ? { open: true } : {}) };
  if (agent !== undefined) {
    const code = agent.signal === undefined ? `exit code ${agent.exitCode}` : `signal ${agent.signal}`;
    return {
      reason: 'agent_exit',
      message: `The agent's container ended: ${agent.reason ?? 'Error'}, ${code}${said(agent.message)}.`,
    };
  }
  return { reason: 'terminated', message: words('The pod ended', status?.message ?? status?.reason) };
}

function said(message: string | undefined): string {
  return message === undefined || message.trim() === '' ? '' : `: ${message.trim().slice(0, 500)}`;
}

function statusesOf(pod: Pod): ContainerStatus[] {
  return [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
}

function agentStatus(pod: Pod): ContainerStatus | undefined {
  return pod.status?.containerStatuses?.find(({ name }) => name === podShape.agent.name);
}

export function recorderStatus(pod: Pod): ContainerStatus | undefined {
  return pod.status?.initContainerStatuses?.find(({ name }) => name === podShape.recorder.name);
}

interface Condition {
  type: string;
  status: string;
  reason?: string | undefined;
  message?: string | undefined;
}

function conditionOf(object: { status?: { conditions?: readonly Condition[] | undefined } | undefined }, type: string) {
  return object.status?.conditions?.find((each) => each.type === type && each.status !== 'Unknown');
}
