import type { AttemptSpec } from '../../contract/attempt.ts';
import type { KubernetesSettings } from '../../contract/kubernetes.ts';
import { agentLabels, jobName, labels, pod } from '../../contract/pod.ts';

/**
 * The objects of an attempt, as values: a test reads them with no cluster. Nothing that a user wrote is in them (prompt, strategy,
 * repository: the recorder asks the attempt door for those), and no credential but the attempt's token, in its Secret.
 */

export interface JobPlan {
  spec: Pick<AttemptSpec, 'run_id' | 'variation_id' | 'attempt' | 'attempt_id'> & {
    agent: Pick<AttemptSpec['agent'], 'image'>;
    limits: Pick<AttemptSpec['limits'], 'timeout_seconds'>;
  };
  settings: KubernetesSettings;
  namespace: string;
  /** The attempt door as pods reach it. */
  doorUrl: string;
  /** This database's name: see {@link labels.instance}. */
  instance: string;
  version: string;
}

/** Between the recorder's own deadline and the Job's, beside all that an attempt may wait (seconds). */
const BACKSTOP_SECONDS = 300;

/**
 * Seconds after which Kubernetes ends the Job, whatever it does. It deletes the pod, and its log with it; so it comes long after
 * every deadline of ours. Counted from the Job's start, its waiting for a node included.
 */
export function jobDeadline({ spec, settings }: Pick<JobPlan, 'spec' | 'settings'>): number {
  const waiting = Object.values(settings.start_timeouts).reduce((sum, each) => sum + each, 0);
  return waiting + spec.limits.timeout_seconds + settings.hold_seconds + BACKSTOP_SECONDS;
}

/**
 * The Job of one attempt. It is made suspended: its Secret, which it owns, comes next, and then it is let go (or a queue admits it).
 */
export function jobOf(plan: JobPlan) {
  const { spec, settings, namespace } = plan;
  const own = labelsOf(plan);
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: jobName(spec.run_id, spec.variation_id, spec.attempt),
      namespace,
      labels: {
        ...settings.labels,
        ...own,
        ...(settings.queue === null ? {} : { 'kueue.x-k8s.io/queue-name': settings.queue }),
      },
      annotations: settings.annotations,
    },
    spec: {
      suspend: true,
      completions: 1,
      parallelism: 1,
      // An attempt costs money: whether there is another one is decided by people, and it has a log of its own.
      backoffLimit: 0,
      podReplacementPolicy: 'Failed',
      activeDeadlineSeconds: jobDeadline(plan),
      template: {
        metadata: {
          labels: { ...settings.labels, ...own },
          annotations: {
            ...settings.annotations,
            // `kubectl logs -f job/…` shows the thoughts, not the launcher's silence.
            'kubectl.kubernetes.io/default-container': pod.recorder.name,
            'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
            'karpenter.sh/do-not-disrupt': 'true',
          },
        },
        spec: podSpecOf(plan),
      },
    },
  };
}

/** The Secret of one attempt: its token, for its recorder alone. It goes with the Job. */
export function secretOf(plan: JobPlan, jobUid: string, token: string) {
  const name = jobName(plan.spec.run_id, plan.spec.variation_id, plan.spec.attempt);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'Opaque',
    immutable: true,
    metadata: {
      name,
      namespace: plan.namespace,
      labels: labelsOf(plan),
      ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name, uid: jobUid }],
    },
    stringData: { token },
  };
}

function labelsOf({ spec, instance, version }: JobPlan) {
  return {
    ...agentLabels,
    'app.kubernetes.io/version': version.replaceAll(/[^A-Za-z0-9_.-]/g, '_').slice(0, 63),
    [labels.instance]: instance,
    [labels.run]: spec.run_id,
    [labels.variation]: String(spec.variation_id),
    [labels.attempt]: String(spec.attempt),
    [labels.attemptId]: spec.attempt_id,
  };
}

function podSpecOf(plan: JobPlan) {
  const { spec, settings } = plan;
  const secret = jobName(spec.run_id, spec.variation_id, spec.attempt);
  const shared = [
    { name: 'workspace', mountPath: pod.workspace },
    { name: 'home', mountPath: pod.home },
    { name: 'tmp', mountPath: pod.tmp },
  ];
  return {
    restartPolicy: 'Never',
    // No credential of the cluster's, and no list of its Services in the environment.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: settings.grace_seconds,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: pod.uid,
      runAsGroup: pod.uid,
      fsGroup: pod.uid,
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    },
    ...(settings.image_pull_secrets.length === 0
      ? {}
      : { imagePullSecrets: settings.image_pull_secrets.map((name) => ({ name })) }),
    ...(settings.runtime_class === null ? {} : { runtimeClassName: settings.runtime_class }),
    ...(settings.priority_class === null ? {} : { priorityClassName: settings.priority_class }),
    ...(Object.keys(settings.node_selector).length === 0 ? {} : { nodeSelector: settings.node_selector }),
    ...(settings.tolerations.length === 0 ? {} : { tolerations: settings.tolerations }),
    ...(settings.affinity === null ? {} : { affinity: settings.affinity }),
    initContainers: [
      {
        ...containerOf(plan, 'recorder', settings.image, settings.recorder_resources),
        // A native sidecar: it starts first, lives beside the agent, and drains when that has ended.
        restartPolicy: 'Always',
        env: [
          { name: pod.env.door, value: plan.doorUrl },
          { name: pod.env.attempt, value: spec.attempt_id },
          { name: pod.env.podUid, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.uid' } } },
          { name: pod.env.holdSeconds, value: String(settings.hold_seconds) },
          { name: pod.env.graceSeconds, value: String(settings.grace_seconds) },
          { name: 'TMPDIR', value: `${pod.journal}/tmp` },
          { name: 'HOME', value: `${pod.journal}/home` },
        ],
        volumeMounts: [
          ...shared,
          { name: 'journal', mountPath: pod.journal },
          { name: 'link', mountPath: pod.link },
          { name: 'secret', mountPath: pod.secret, readOnly: true },
        ],
      },
    ],
    containers: [
      {
        ...containerOf(plan, 'agent', spec.agent.image ?? settings.image, settings.resources),
        env: [
          { name: 'HOME', value: pod.home },
          { name: 'TMPDIR', value: pod.tmp },
        ],
        volumeMounts: [...shared, { name: 'link', mountPath: pod.link, readOnly: true }],
      },
    ],
    volumes: [
      { name: 'workspace', emptyDir: { sizeLimit: settings.volumes.workspace } },
      { name: 'home', emptyDir: { sizeLimit: settings.volumes.home } },
      { name: 'tmp', emptyDir: { sizeLimit: settings.volumes.tmp } },
      { name: 'journal', emptyDir: { sizeLimit: settings.volumes.journal } },
      { name: 'link', emptyDir: { sizeLimit: '1Mi' } },
      { name: 'secret', secret: { secretName: secret, defaultMode: 0o440 } },
    ],
  };
}

function containerOf(
  { settings }: JobPlan,
  which: 'recorder' | 'agent',
  image: string,
  resources: KubernetesSettings['resources'],
) {
  return {
    name: pod[which].name,
    image,
    imagePullPolicy: settings.image_pull_policy,
    command: [...pod[which].command],
    resources,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: pod.uid,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      privileged: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
  };
}
