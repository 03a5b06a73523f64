/**
 * What a pod of an attempt looks like from inside: shared by whoever writes its spec and by what runs in it.
 *
 * Two containers of one network, apart in everything else. The recorder (a native sidecar, of our image) has the token, the
 * journal and the way to the attempt door. The agent's container has no credential: it runs the launcher, which starts what the
 * recorder tells it to, and it reaches the recorder's proxy on 127.0.0.1.
 */
export const pod = {
  /** Volumes of both, at the same paths. */
  workspace: '/workspace',
  /** The agent's work tree. Not the volume's own folder: that belongs to root, and git refuses a work tree of somebody else. */
  tree: '/workspace/repository',
  home: '/home/agent',
  tmp: '/tmp',
  /** The recorder's alone: journal, snapshot, patch, its own TMPDIR. */
  journal: '/journal',
  /** Holds the recorder's socket; the agent's container sees it read-only. */
  link: '/link',
  socket: '/link/recorder.sock',
  /** The attempt's token, a file of its Secret; the recorder's alone. */
  secret: '/secret',
  token: '/secret/token',
  recorder: { name: 'recorder', command: ['node', '/app/dist/agent/pod-recorder-main.js'] },
  agent: {
    name: 'agent',
    command: ['tini', '--', 'node', '--disable-sigusr1', '/app/dist/agent/pod-launcher-main.js'],
  },
  /** Of both containers. */
  uid: 1000,
  /** Names in the recorder's environment. */
  env: {
    door: 'AIDEATOR_DOOR_URL',
    // Not the name that the agent's processes are marked with: the recorder is none of them.
    attempt: 'AIDEATOR_ATTEMPT_ID',
    podUid: 'AIDEATOR_POD_UID',
    holdSeconds: 'AIDEATOR_HOLD_SECONDS',
    /** The pod's terminationGracePeriodSeconds; 30, as Kubernetes has it, where it is not told. */
    graceSeconds: 'AIDEATOR_GRACE_SECONDS',
  },
} as const;

/** Labels of Jobs, pods and Secrets of attempts. NetworkPolicies and quotas of the chart select by {@link agentLabels}. */
export const labels = {
  /** Of one server's database: another server's Jobs are never touched. */
  instance: 'aideator.dev/instance',
  run: 'aideator.dev/run',
  variation: 'aideator.dev/variation',
  attempt: 'aideator.dev/attempt',
  attemptId: 'aideator.dev/attempt-id',
} as const;
export const agentLabels = {
  'app.kubernetes.io/name': 'aideator-agent',
  'app.kubernetes.io/component': 'agent',
  'app.kubernetes.io/part-of': 'aideator',
  'app.kubernetes.io/managed-by': 'aideator',
} as const;

/** The Job of an attempt: `agent-<run>-<variation>`, with `-r<k>` for the k-th retry. */
export function jobName(runId: string, variation: number, attempt: number): string {
  return `agent-${runId}-${variation}${attempt === 0 ? '' : `-r${attempt}`}`;
}

/** What the recorder's container says last, in its termination message (at most 4096 bytes): survives the pod's log. */
export interface LastWord {
  /** 0 where nothing was written. */
  lastSeq: number;
  sha256: string | null;
  reason: string;
}
