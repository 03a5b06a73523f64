import { answeredWith } from './api-error.ts';
import type { Job, KubernetesEvent, KubernetesObject, List, NewObject, Pod, ResourceQuota, Secret } from './objects.ts';
import { AppError } from '../../../errors.ts';
import type { StreamEnd, StreamRequest, Transport, UnaryRequest } from './transport.ts';

/** What is asked of one call besides its subject. */
export interface CallOptions {
  signal?: AbortSignal;
  /** No further try is begun after this long (ms); 0 = one try. */
  budgetMs?: number;
}

export interface DeleteOptions extends CallOptions {
  /** `Foreground`: the Job stays until all it owns is gone. */
  propagationPolicy?: 'Foreground' | 'Background' | 'Orphan';
  gracePeriodSeconds?: number;
  /** Only the object that is meant, not one that was made under its name later. */
  uid?: string;
}

export interface LogRequest {
  pod: string;
  container: string;
  follow?: boolean;
  /** Each line begins with its time and a space. */
  timestamps?: boolean;
  /** The API knows whole seconds: fractions are cut off. */
  sinceTime?: Date;
  tailLines?: number;
}

export interface AccessQuestion {
  verb: string;
  group: string;
  resource: string;
  subresource?: string;
}

/** Collections that can be listed whole and watched. */
export interface Collections {
  jobs: Job;
  pods: Pod;
}

/**
 * The calls we need, in one namespace, each as thin as can be. Errors of all: {@link import('./api-error.ts').ApiError} with
 * Kubernetes' own answer; AppError cluster_unreachable; the signal's reason.
 */
export interface KubernetesApi {
  readonly namespace: string;
  jobs: {
    /** 409 AlreadyExists: somebody made it, perhaps we, in a try whose answer was lost. */
    create(job: NewObject, options?: CallOptions & { dryRun?: boolean }): Promise<Job>;
    get(name: string, options?: CallOptions): Promise<Job>;
    list(labelSelector: string, options?: CallOptions): Promise<Job[]>;
    /** A JSON merge patch (RFC 7386). */
    patch(name: string, patch: object, options?: CallOptions): Promise<Job>;
    delete(name: string, options?: DeleteOptions): Promise<void>;
  };
  pods: {
    get(name: string, options?: CallOptions): Promise<Pod>;
    list(labelSelector: string, options?: CallOptions): Promise<Pod[]>;
    /** A container's log as a stream of bytes; see `log-follower.ts` for all that this is not. */
    log(
      request: LogRequest,
      stream: Pick<StreamRequest, 'idleMs' | 'onData' | 'onOpen' | 'signal'>,
    ): Promise<StreamEnd>;
  };
  /** What Kubernetes says of one object; it forgets after an hour or so. */
  events(involved: { uid: string }, options?: CallOptions): Promise<KubernetesEvent[]>;
  quotas(options?: CallOptions): Promise<ResourceQuota[]>;
  secrets: {
    create(secret: NewObject, options?: CallOptions & { dryRun?: boolean }): Promise<Secret>;
    delete(name: string, options?: DeleteOptions): Promise<void>;
  };
  /** SelfSubjectAccessReview: everybody may ask it of themselves. */
  mayI(question: AccessQuestion, options?: CallOptions): Promise<{ allowed: boolean; reason: string | null }>;
  version(options?: CallOptions): Promise<{ major: string; minor: string; gitVersion: string }>;
  /** One page of a collection, as the watch needs it: with its resourceVersion. */
  page<K extends keyof Collections>(
    collection: K,
    query: { labelSelector: string; limit?: number; continue?: string },
    options?: CallOptions,
  ): Promise<List<Collections[K]>>;
  /** Lines of JSON: what changes in a collection from a resourceVersion on. */
  changes(
    collection: keyof Collections,
    query: { labelSelector: string; resourceVersion: string; timeoutSeconds: number },
    stream: Pick<StreamRequest, 'idleMs' | 'onData' | 'onOpen' | 'signal'>,
  ): Promise<StreamEnd>;
}

/** Objects in one page of a list: as many as the API server's own clients ask for. */
export const PAGE_LIMIT = 500;

export function createApi(transport: Transport, namespace: string): KubernetesApi {
  const core = `/api/v1/namespaces/${namespace}`;
  const jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  const paths = { jobs, pods: `${core}/pods` } as const;
  const named = (path: string, name: string): string => {
    // `DELETE …/jobs/` is the whole collection to Kubernetes.
    if (name === '') throw new AppError('internal', `An object of ${path} has no name.`);
    return `${path}/${encodeURIComponent(name)}`;
  };
  const json = <T>(
    request: Pick<UnaryRequest, 'method' | 'path' | 'query' | 'body' | 'contentType'>,
    options: CallOptions = {},
  ): Promise<T> =>
    transport.json<T>({
      ...request,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.budgetMs === undefined ? {} : { budgetMs: options.budgetMs }),
    });

  const create = <T>(path: string, body: NewObject, options: CallOptions & { dryRun?: boolean } = {}): Promise<T> =>
    json<T>(
      {
        method: 'POST',
        path,
        // A field that the server does not know is our mistake: better said than dropped.
        query: { fieldManager: FIELD_MANAGER, fieldValidation: 'Strict', dryRun: options.dryRun ? 'All' : undefined },
        body,
      },
      options,
    );
  const remove = async (path: string, options: DeleteOptions = {}): Promise<void> => {
    await json<unknown>(
      {
        method: 'DELETE',
        path,
        body: {
          apiVersion: 'v1',
          kind: 'DeleteOptions',
          propagationPolicy: options.propagationPolicy ?? 'Background',
          ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
          ...(options.uid === undefined ? {} : { preconditions: { uid: options.uid } }),
        },
      },
      options,
    );
  };
  const page: KubernetesApi['page'] = (collection, query, options) =>
    json({ method: 'GET', path: paths[collection], query }, options);
  const listAll = async <K extends keyof Collections>(
    collection: K,
    labelSelector: string,
    options: CallOptions = {},
  ): Promise<Collections[K][]> => (await listWhole({ page }, collection, labelSelector, options)).items;

  return {
    namespace,
    jobs: {
      create: (job, options) => create<Job>(jobs, job, options),
      get: (name, options) => json<Job>({ method: 'GET', path: named(jobs, name) }, options),
      list: (labelSelector, options) => listAll('jobs', labelSelector, options),
      patch: (name, patch, options) =>
        json<Job>(
          {
            method: 'PATCH',
            path: named(jobs, name),
            query: { fieldManager: FIELD_MANAGER },
            body: patch,
            contentType: 'application/merge-patch+json',
          },
          options,
        ),
      delete: (name, options) => remove(named(jobs, name), options),
    },
    pods: {
      get: (name, options) => json<Pod>({ method: 'GET', path: named(paths.pods, name) }, options),
      list: (labelSelector, options) => listAll('pods', labelSelector, options),
      log: ({ pod, sinceTime, ...query }, stream) =>
        transport.stream({
          ...stream,
          path: `${named(paths.pods, pod)}/log`,
          query: { ...query, sinceTime: sinceTime && `${sinceTime.toISOString().slice(0, 19)}Z` },
        }),
    },
    events: async ({ uid }, options) => {
      const query = { fieldSelector: `involvedObject.uid=${uid}`, limit: PAGE_LIMIT };
      return (await json<List<KubernetesEvent>>({ method: 'GET', path: `${core}/events`, query }, options)).items ?? [];
    },
    quotas: async (options) => {
      const query = { limit: PAGE_LIMIT };
      return (
        (await json<List<ResourceQuota>>({ method: 'GET', path: `${core}/resourcequotas`, query }, options)).items ?? []
      );
    },
    secrets: {
      create: (secret, options) => create<Secret>(`${core}/secrets`, secret, options),
      delete: (name, options) => remove(named(`${core}/secrets`, name), options),
    },
    mayI: async (question, options) => {
      const answer = await json<{ status?: { allowed?: boolean; reason?: string } }>(
        {
          method: 'POST',
          path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
          body: {
            apiVersion: 'authorization.k8s.io/v1',
            kind: 'SelfSubjectAccessReview',
            spec: { resourceAttributes: { namespace, ...question } },
          },
        },
        options,
      );
      return { allowed: answer.status?.allowed === true, reason: answer.status?.reason || null };
    },
    version: (options) => json({ method: 'GET', path: '/version' }, options),
    page,
    changes: (collection, query, stream) =>
      transport.stream({
        ...stream,
        path: paths[collection],
        query: { ...query, watch: true, allowWatchBookmarks: true },
      }),
  };
}

const FIELD_MANAGER = 'aideator';

/**
 * All pages of a collection, and the resourceVersion they are of. Where the next page has expired (410: the list is older than the
 * history that is kept) all of it is asked for at once, as the API server's own clients do.
 */
export async function listWhole<K extends keyof Collections>(
  api: Pick<KubernetesApi, 'page'>,
  collection: K,
  labelSelector: string,
  options: CallOptions & { limit?: number } = {},
): Promise<{ items: Collections[K][]; resourceVersion: string }> {
  const { limit = PAGE_LIMIT, ...call } = options;
  const items: Collections[K][] = [];
  let next: string | undefined;
  let resourceVersion: string;
  do {
    let page: List<Collections[K]>;
    try {
      const query = { labelSelector, limit, ...(next === undefined ? {} : { continue: next }) };
      page = await api.page(collection, query, call);
    } catch (error) {
      if (next === undefined || !answeredWith(error, 410)) throw error;
      items.length = 0;
      page = await api.page(collection, { labelSelector }, call);
    }
    for (const item of page.items ?? []) items.push(item);
    resourceVersion = page.metadata.resourceVersion ?? '';
    next = page.metadata.continue || undefined;
  } while (next !== undefined);
  return { items, resourceVersion };
}

/** Whether both are the same object, not just of the same name. */
export function isSame(one: KubernetesObject, other: KubernetesObject): boolean {
  return one.metadata.uid === other.metadata.uid;
}
