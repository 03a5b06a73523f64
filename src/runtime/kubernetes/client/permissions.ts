import type { CallOptions, KubernetesApi } from './api.ts';

/**
 * What the code needs to be allowed, as data: the chart's Role is checked against it, and `aideator doctor --kubernetes` asks the
 * cluster for each. A new call in `api.ts` belongs here too. No exec, no attach, no reading of secrets, nothing beyond one namespace.
 */
export interface Permission {
  verb: 'create' | 'get' | 'list' | 'watch' | 'patch' | 'delete';
  /** '' = the core API. */
  group: string;
  resource: string;
  subresource?: string;
  /** `attempts`: the one that Jobs are made in (setting kubernetes.namespace); `server`: the one the server runs in. */
  namespace: 'attempts' | 'server';
  /** Only the one object that this setting names; left out = any. */
  only?: 'kubernetes.admin_key_secret';
  why: string;
}

const jobs = { group: 'batch', resource: 'jobs', namespace: 'attempts' } as const;
const pods = { group: '', resource: 'pods', namespace: 'attempts' } as const;
const secrets = { group: '', resource: 'secrets', namespace: 'attempts' } as const;

export const permissions: readonly Permission[] = [
  { ...jobs, verb: 'create', why: 'start an attempt' },
  { ...jobs, verb: 'get', why: 'find an attempt again whose start was not heard of' },
  { ...jobs, verb: 'list', why: 'find all attempts after a restart' },
  { ...jobs, verb: 'watch', why: 'see attempts end' },
  { ...jobs, verb: 'patch', why: 'let a finished attempt expire' },
  { ...jobs, verb: 'delete', why: 'cancel an attempt, remove a run' },
  { ...pods, verb: 'get', why: 'tell a pod that is gone from a log that cannot be read' },
  { ...pods, verb: 'list', why: 'find the pods of attempts' },
  { ...pods, verb: 'watch', why: 'see pods start and end' },
  { ...pods, subresource: 'log', verb: 'get', why: 'show thoughts live' },
  { group: '', resource: 'events', namespace: 'attempts', verb: 'list', why: 'say why Kubernetes refuses a pod' },
  {
    group: '',
    resource: 'resourcequotas',
    namespace: 'attempts',
    verb: 'list',
    why: 'say which quota leaves no room for an attempt',
  },
  { ...secrets, verb: 'create', why: 'give the recorder its token' },
  { ...secrets, namespace: 'server', verb: 'create', why: 'hand out the first API key' },
  {
    ...secrets,
    namespace: 'server',
    verb: 'delete',
    only: 'kubernetes.admin_key_secret',
    why: 'take back the first API key of a database that is no more',
  },
];

export interface PermissionReview {
  permission: Permission;
  allowed: boolean;
  /** The cluster's words, where it has any. */
  reason: string | null;
}

/** Asks the cluster for each that an attempt needs. Errors: as of every call. */
export function reviewPermissions(
  api: Pick<KubernetesApi, 'mayI'>,
  options: CallOptions = {},
): Promise<PermissionReview[]> {
  return Promise.all(
    permissions
      .filter(({ namespace }) => namespace === 'attempts')
      .map(async (permission) => {
        const { verb, group, resource, subresource } = permission;
        const question = { verb, group, resource, ...(subresource === undefined ? {} : { subresource }) };
        return { permission, ...(await api.mayI(question, options)) };
      }),
  );
}
