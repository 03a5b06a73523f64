/**
 * What is read of Kubernetes' objects, and no more: the rest comes along and is ignored. Written from the API reference
 * (batch/v1, core/v1, meta/v1) of 1.29 to 1.34; what the server leaves out when it is empty is optional here.
 */

export interface ObjectMeta {
  name: string;
  namespace: string;
  uid: string;
  resourceVersion: string;
  /** RFC 3339, whole seconds. */
  creationTimestamp: string;
  /** Set: it is being deleted. */
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: { apiVersion: string; kind: string; name: string; uid: string; controller?: boolean }[];
}

export interface KubernetesObject {
  metadata: ObjectMeta;
}

export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export interface Job extends KubernetesObject {
  spec: { suspend?: boolean; ttlSecondsAfterFinished?: number; activeDeadlineSeconds?: number };
  status?: {
    active?: number;
    ready?: number;
    succeeded?: number;
    failed?: number;
    startTime?: string;
    completionTime?: string;
    /** `Complete`, `Failed`, `Suspended`, `FailureTarget`, `SuccessCriteriaMet`. */
    conditions?: Condition[];
  };
}

export interface ContainerState {
  waiting?: { reason?: string; message?: string };
  running?: { startedAt?: string };
  terminated?: {
    exitCode: number;
    signal?: number;
    /** `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown` … */
    reason?: string;
    /** The termination message, where the container left one. */
    message?: string;
    startedAt?: string;
    finishedAt?: string;
  };
}

export interface ContainerStatus {
  name: string;
  image?: string;
  ready: boolean;
  started?: boolean;
  restartCount: number;
  state?: ContainerState;
  lastState?: ContainerState;
}

export interface Pod extends KubernetesObject {
  spec: { nodeName?: string; terminationGracePeriodSeconds?: number };
  status?: {
    phase?: 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';
    /** `Evicted`, `NodeLost`, `DeadlineExceeded`, `Preempting` … */
    reason?: string;
    message?: string;
    podIP?: string;
    startTime?: string;
    /** `PodScheduled`, `Initialized`, `ContainersReady`, `Ready`, `DisruptionTarget`. */
    conditions?: Condition[];
    /** Native sidecars are among these. */
    initContainerStatuses?: ContainerStatus[];
    containerStatuses?: ContainerStatus[];
  };
}

/** core/v1 Event: what Kubernetes says of an object, e.g. `FailedCreate` of a Job over its quota. */
export interface KubernetesEvent extends KubernetesObject {
  type?: 'Normal' | 'Warning';
  reason?: string;
  message?: string;
  count?: number;
  firstTimestamp?: string | null;
  lastTimestamp?: string | null;
  eventTime?: string | null;
  involvedObject: { kind?: string; name?: string; uid?: string };
}

/** core/v1 ResourceQuota: amounts by resource, e.g. `limits.memory: 8Gi`. */
export interface ResourceQuota extends KubernetesObject {
  status?: { hard?: Record<string, string>; used?: Record<string, string> };
}

export type Secret = KubernetesObject;

/** The answer to a request that was refused, and to some that were not. */
export interface Status {
  kind: 'Status';
  status?: string;
  message?: string;
  /** One word: `NotFound`, `AlreadyExists`, `Conflict`, `Forbidden`, `Expired`, `Invalid` … */
  reason?: string;
  code?: number;
  details?: {
    name?: string;
    kind?: string;
    uid?: string;
    retryAfterSeconds?: number;
    causes?: { reason?: string; message?: string; field?: string }[];
  };
}

export interface List<T> {
  metadata: { resourceVersion?: string; continue?: string; remainingItemCount?: number };
  items?: T[] | null;
}

/** What is sent to be made: as the API wants it, made by pure functions elsewhere. */
export interface NewObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> };
}
