import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Finding } from '../../contract/api-system.ts';
import type { KubernetesSettings } from '../../contract/kubernetes.ts';
import { labels } from '../../contract/pod.ts';
import { defaultLimits, type EndReason } from '../../contract/run.ts';
import { toAppError } from '../../errors.ts';
import type { KubernetesApi } from './client/api.ts';
import { reviewPermissions, type Permission } from './client/permissions.ts';
import type { Job } from './client/objects.ts';
import type { Cluster } from './cluster.ts';
import { obstacleInEvents, situationOf, type Situation } from './diagnose.ts';
import { jobOf, type JobPlan } from './job-spec.ts';

/**
 * Whether attempts could be run in a cluster, before any is: what is missing is named. Rights by SelfSubjectAccessReview, the Job by
 * a dry run, room by the quotas; and, where it is wanted, a Job that really runs for a moment and knocks at the attempt door.
 */

export interface PreflightDeps {
  api: KubernetesApi;
  cluster: Cluster;
  settings: KubernetesSettings;
  /** Where the cluster is, and what says so, in words. */
  server: string;
  doorUrl: string;
  instance: string;
  version: string;
}

/** Native sidecars are on by default from here on (KEP-753). */
const OLDEST_MINOR = 29;
/** How long the Job of a probe may take (ms), beside the time a pod's start may take. */
const PROBE_MS = 60_000;

/** What only events tell of is asked for after so long (ms). */
const EVENTS_AFTER_MS = 3000;

/** Runs of Jobs that are no attempt's. */
const PROBE = 'check-';

/** Whether a Job is a probe's, which looks after it itself; not one that its server left behind. */
export function isProbe(job: Job): boolean {
  const isOurs = job.metadata.labels?.[labels.run]?.startsWith(PROBE) === true;
  return isOurs && Date.now() - Date.parse(job.metadata.creationTimestamp) < 15 * 60_000;
}

/** Looks at everything that can be known without running anything. Never rejects. */
export async function preflight(deps: PreflightDeps): Promise<Finding[]> {
  const { api } = deps;
  let version: Awaited<ReturnType<KubernetesApi['version']>>;
  try {
    version = await api.version({ budgetMs: 5000 });
  } catch (error) {
    const { message, hint } = toAppError(error);
    return [{ check: 'cluster', state: 'fail', text: `${deps.server}: ${message}`, hint }];
  }
  const minor = Number.parseInt(version.minor, 10);
  const cluster: Finding =
    minor < OLDEST_MINOR
      ? {
          check: 'cluster',
          state: 'fail',
          text: `${deps.server} is Kubernetes ${version.gitVersion}`,
          hint: `Native sidecars need 1.${OLDEST_MINOR} or newer.`,
        }
      : {
          check: 'cluster',
          state: 'ok',
          text: `Kubernetes ${version.gitVersion} at ${deps.server}, namespace ${api.namespace}`,
        };
  const looks = [rights(deps), dryRun(deps), quotas(deps)];
  const rest = await Promise.all(
    looks.map((look) =>
      look.catch((error: unknown): Finding[] => {
        const { message, hint } = toAppError(error);
        return [{ check: 'cluster', state: 'fail', text: message, hint }];
      }),
    ),
  );
  return [cluster, ...rest.flat()];
}

async function rights({ api }: PreflightDeps): Promise<Finding[]> {
  const missing = (await reviewPermissions(api, { budgetMs: 5000 })).filter(({ allowed }) => !allowed);
  if (missing.length === 0)
    return [{ check: 'rights', state: 'ok', text: 'all that are needed, and nothing else is asked for' }];
  return missing.map(({ permission }) => ({
    check: 'rights',
    state: 'fail',
    text: `may not ${nameOf(permission)}: cannot ${permission.why}`,
    hint: `Grant it in namespace ${api.namespace}: the chart's Role has it.`,
  }));
}

export function nameOf({ verb, group, resource, subresource }: Permission): string {
  return `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}${group === '' ? '' : `.${group}`}`;
}

async function dryRun(deps: PreflightDeps): Promise<Finding[]> {
  try {
    await deps.api.jobs.create(jobOf(samplePlan(deps)), { dryRun: true, budgetMs: 5000 });
    return [{ check: 'job', state: 'ok', text: 'the cluster would take an attempt’s Job (dry run)' }];
  } catch (error) {
    const { message, hint } = toAppError(error);
    return [{ check: 'job', state: 'fail', text: `the cluster would refuse an attempt’s Job: ${message}`, hint }];
  }
}

async function quotas({ api, settings }: PreflightDeps): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const quota of await api.quotas({ budgetMs: 5000 })) {
    for (const [resource, hard] of Object.entries(quota.status?.hard ?? {})) {
      const needed = needOf(resource, settings);
      if (needed === null) continue;
      const left = amount(hard) - amount(quota.status?.used?.[resource] ?? '0');
      const fits = Math.floor(left / needed);
      if (fits >= 1) continue;
      found.push({
        check: 'quota',
        state: amount(hard) < needed ? 'fail' : 'warn',
        text: `ResourceQuota ${quota.metadata.name}: ${resource} has ${left <= 0 ? 'nothing' : 'too little'} left of ${hard}; an attempt needs ${needed}`,
        hint: 'Raise it, wait for other pods to end, or lower kubernetes.resources.',
      });
    }
  }
  return found.length > 0 ? found : [{ check: 'quota', state: 'ok', text: 'none is in the way of an attempt' }];
}

/** What one attempt takes of a quota's resource; null for one that it takes nothing of. */
function needOf(resource: string, settings: KubernetesSettings): number | null {
  const { resources, recorder_resources: recorder } = settings;
  const sum = (kind: 'requests' | 'limits', name: 'cpu' | 'memory' | 'ephemeral-storage') =>
    amount(resources[kind][name] ?? '0') + amount(recorder[kind][name] ?? '0');
  switch (resource) {
    case 'pods':
    case 'count/pods':
    case 'count/jobs.batch':
    case 'secrets':
    case 'count/secrets':
      return 1;
    case 'cpu':
    case 'requests.cpu':
      return sum('requests', 'cpu');
    case 'limits.cpu':
      return sum('limits', 'cpu');
    case 'memory':
    case 'requests.memory':
      return sum('requests', 'memory');
    case 'limits.memory':
      return sum('limits', 'memory');
    case 'requests.ephemeral-storage':
    case 'ephemeral-storage':
      return sum('requests', 'ephemeral-storage');
    case 'limits.ephemeral-storage':
      return sum('limits', 'ephemeral-storage');
    default:
      return null;
  }
}

const UNITS: Record<string, number> = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A Kubernetes quantity as a number. */
function amount(quantity: string): number {
  const [, number = '0', unit = ''] = /^([\d.]+)([a-zA-Z]*)$/.exec(quantity) ?? [];
  return Number(number) * (UNITS[unit] ?? 1);
}

function samplePlan(deps: PreflightDeps): JobPlan {
  return {
    spec: {
      run_id: `${PROBE}${randomUUID().slice(0, 8)}`,
      variation_id: 0,
      attempt: 0,
      attempt_id: randomUUID(),
      agent: { image: null },
      limits: { timeout_seconds: defaultLimits.timeout_seconds },
    },
    settings: deps.settings,
    namespace: deps.api.namespace,
    doorUrl: deps.doorUrl,
    instance: deps.instance,
    version: deps.version,
  };
}

/**
 * Runs a Job in the shape of an attempt's, whose containers only look around: it finds what no dry run can (an image that cannot be
 * pulled, no node with room, admission rules for pods, a door that pods cannot reach). The Job is deleted afterwards. Never rejects.
 */
export async function probe(deps: PreflightDeps): Promise<Finding> {
  const check = 'probe';
  const plan = samplePlan(deps);
  const job = probeJob(plan);
  const { name } = job.metadata;
  const since = Date.now();
  try {
    const made = await deps.api.jobs.create(job);
    try {
      const found = await watchProbe(deps, plan, made);
      return judge(found, deps, Date.now() - since);
    } finally {
      await deps.cluster.deleteJob(name, made.metadata.uid);
    }
  } catch (error) {
    const { message, hint } = toAppError(error);
    return { check, state: 'fail', text: `a Job that only looks around could not be run: ${message}`, hint };
  }
}

/** Until it is over, or stands still for as long as an attempt may. */
async function watchProbe({ cluster, settings }: PreflightDeps, { spec }: JobPlan, made: Job): Promise<Situation> {
  const { start_timeouts: limits } = settings;
  const until = Date.now() + Math.min(PROBE_MS, Math.max(...Object.values(limits)) * 1000) + PROBE_MS;
  const events = Date.now() + EVENTS_AFTER_MS;
  let stands = { becomes: null as EndReason | null, since: 0 };
  for (;;) {
    const [pod] = cluster.podsOf(spec.attempt_id);
    let found = situationOf(cluster.job(made.metadata.name) ?? made, pod, settings);
    if (found.kind === 'waiting' && found.obstacle === null && Date.now() > events) {
      const { uid } = (pod ?? made).metadata;
      found = { kind: 'waiting', obstacle: obstacleInEvents(await cluster.eventsOf(uid).catch(() => []), settings) };
    }
    if (found.kind === 'over' || Date.now() > until) return found;
    if (found.kind === 'waiting' && found.obstacle !== null) {
      const { becomes, limit } = found.obstacle;
      if (stands.becomes !== becomes) stands = { becomes, since: Date.now() };
      if (limit !== null && Date.now() - stands.since >= limit * 1000) return found;
    } else {
      stands = { becomes: null, since: 0 };
    }
    await pause(250);
  }
}

function judge(found: Situation, { doorUrl, settings }: PreflightDeps, ms: number): Finding {
  const check = 'probe';
  const seconds = (ms / 1000).toFixed(1);
  if (found.kind === 'waiting') {
    const why = found.obstacle?.message ?? 'Kubernetes does not say why';
    return { check, state: 'fail', text: `a pod with ${settings.image} did not start in ${seconds} s: ${why}` };
  }
  if (found.kind === 'over' && found.reason === 'agent_exit' && /exit code 0/.test(found.message))
    return { check, state: 'ok', text: `a pod with ${settings.image} ran and reached ${doorUrl} in ${seconds} s` };
  const text = found.kind === 'running' ? `it still ran after ${seconds} s` : found.message;
  return {
    check,
    state: 'fail',
    text: `a pod with ${settings.image} did not reach ${doorUrl}: ${text}`,
    hint: 'Look at door_url, the Service of the attempt door and the NetworkPolicies.',
  };
}

/** How long a new pod may be refused before that means something (s): a policy engine lets it through only once it knows it. */
const REFUSED_SECONDS = 30;
/** Any answer of the door's is enough: it refuses whoever has no token. */
const LOOK = `
const until = Date.now() + ${REFUSED_SECONDS * 1000};
const look = () => fetch(process.argv[1]).then(
  (answer) => process.exit(answer.status === 403 ? 0 : 3),
  (error) => {
    if (Date.now() < until) return setTimeout(look, 500);
    console.error((error.cause ?? error).message);
    process.exit(4);
  },
);
look();`;

/** An attempt's Job, its containers exchanged for a look. */
function probeJob(plan: JobPlan) {
  const job = jobOf(plan);
  const { spec } = job.spec.template;
  return {
    ...job,
    spec: {
      ...job.spec,
      suspend: false,
      activeDeadlineSeconds: 600,
      template: {
        ...job.spec.template,
        spec: {
          ...spec,
          initContainers: [],
          volumes: [],
          containers: spec.containers.map((container) => ({
            ...container,
            command: ['node', '-e', LOOK, plan.doorUrl],
            volumeMounts: [],
            terminationMessagePolicy: 'FallbackToLogsOnError',
          })),
        },
      },
    },
  };
}
