import type { KubernetesSettings } from '../../contract/kubernetes.ts';
import { labels, pod as podShape } from '../../contract/pod.ts';
import { answeredWith } from './client/api-error.ts';
import type { KubernetesApi } from './client/api.ts';
import { connectCluster } from './client/client.ts';
import { followLog } from './client/log-follower.ts';
import type { Job, Pod } from './client/objects.ts';
import { watchCollection } from './client/watch.ts';
import type { Cluster } from './cluster.ts';

/** A cluster that is watched, and the calls that need no watch. */
export interface Connection {
  cluster: Cluster;
  api: KubernetesApi;
  /** Where it is, and what says so, in words. */
  server: string;
  /** Puts a text into a Secret of the server's own namespace, in place of an older one of that name. */
  handOut(name: string, key: string): Promise<void>;
}

export interface ConnectOptions {
  settings: KubernetesSettings;
  env: Readonly<Record<string, string | undefined>>;
  /** Only what has this label is seen. */
  instance: string;
  onProblem(message: string): void;
}

/** Finds the cluster and begins to watch. An API that is away is no error: it is waited for. Errors: invalid_config. */
export async function connect({ settings, env, instance, onProblem }: ConnectOptions): Promise<Connection> {
  const { kubeconfig, context, namespace } = settings;
  const sources = {
    kubeconfig,
    context,
    serviceHost: env['KUBERNETES_SERVICE_HOST'],
    servicePort: env['KUBERNETES_SERVICE_PORT'],
    kubeconfigList: env['KUBECONFIG'],
    home: env['HOME'],
    programEnv: env,
  };
  const client = await connectCluster({ ...sources, namespace });
  const { api } = client;
  const listeners: ((attemptId: string) => void)[] = [];
  const tell = (object: Job | Pod) => {
    const attemptId = object.metadata.labels?.[labels.attemptId];
    if (attemptId !== undefined) for (const listener of listeners) listener(attemptId);
  };
  const labelSelector = `${labels.instance}=${instance}`;
  const onChange = (_type: unknown, object: Job | Pod) => tell(object);
  const jobs = watchCollection({ api, collection: 'jobs', labelSelector, onChange, onProblem });
  const byAttempt = new Map<string, Map<string, Pod>>();
  const pods = watchCollection({
    api,
    collection: 'pods',
    labelSelector,
    onProblem,
    onChange: (type, pod) => {
      index(byAttempt, type === 'deleted', pod);
      tell(pod);
    },
  });

  const cluster: Cluster = {
    namespace: client.namespace,
    get synced() {
      return jobs.synced && pods.synced;
    },
    sync: async (withinMs) => {
      const signal = AbortSignal.timeout(withinMs);
      return Promise.all([jobs.whenSynced(signal), pods.whenSynced(signal)]).then(
        () => true,
        () => false,
      );
    },
    job: (name) => jobs.get(name),
    jobs: () => jobs.list(),
    podsOf: (attemptId) => [...(byAttempt.get(attemptId)?.values() ?? [])],
    onChange: (listener) => void listeners.push(listener),
    createJob: (job) => api.jobs.create(job),
    createSecret: async (secret) => void (await api.secrets.create(secret)),
    getJob: async (name) => {
      try {
        return await api.jobs.get(name);
      } catch (error) {
        if (answeredWith(error, 404)) return undefined;
        throw error;
      }
    },
    patchJob: async (name, patch) => {
      try {
        await api.jobs.patch(name, patch);
      } catch (error) {
        if (!answeredWith(error, 404)) throw error;
      }
    },
    deleteJob: async (name, uid) => {
      try {
        await api.jobs.delete(name, { propagationPolicy: 'Foreground', ...(uid === undefined ? {} : { uid }) });
      } catch (error) {
        // Gone already, or another one has its name by now.
        if (!answeredWith(error, 404) && !answeredWith(error, 409)) throw error;
      }
    },
    eventsOf: (uid) => api.events({ uid }),
    followLog: (pod, options) => {
      const { done, poke, stop } = followLog({ api, pod, container: podShape.recorder.name, ...options });
      return { done: done.then(() => undefined), poke, stop };
    },
    close: async () => {
      await Promise.all([jobs.close(), pods.close()]);
      client.close();
    },
  };
  return {
    cluster,
    api,
    server: `${client.server} (${client.source})`,
    handOut: async (name, key) => {
      const home = await connectCluster({ ...sources, namespace: null });
      try {
        // What is there is of a database that is no more: nobody knows its key's hash.
        await home.api.secrets.delete(name).catch((error: unknown) => {
          if (!answeredWith(error, 404)) throw error;
        });
        const secret = {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: {
            name,
            labels: { 'app.kubernetes.io/managed-by': 'aideator', 'app.kubernetes.io/part-of': 'aideator' },
          },
          type: 'Opaque',
          stringData: { key },
        };
        await home.api.secrets.create(secret);
      } finally {
        home.close();
      }
    },
  };
}

/** Keeps the pods of each attempt together. */
function index(byAttempt: Map<string, Map<string, Pod>>, isGone: boolean, pod: Pod): void {
  const attemptId = pod.metadata.labels?.[labels.attemptId];
  if (attemptId === undefined) return;
  const pods = byAttempt.get(attemptId) ?? new Map<string, Pod>();
  if (isGone) pods.delete(pod.metadata.uid);
  else pods.set(pod.metadata.uid, pod);
  if (pods.size === 0) byAttempt.delete(attemptId);
  else byAttempt.set(attemptId, pods);
}
