import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { ask, smallResources } from './cluster-house.ts';
import { chart } from './helm.ts';
import { talkTo, type TestHouse } from './house.ts';
import type { Kubernetes, RealCluster } from './real-cluster.ts';

/** The chart, installed in a real cluster, its data on a volume that outlives every pod. */
export interface Release extends Pick<TestHouse, 'api' | 'submit' | 'over'> {
  readonly namespace: string;
  /** Where Jobs are made: a namespace of their own, made by the chart. */
  readonly agents: string;
  /** Of the Service, as this machine reaches it. */
  readonly url: string;
  /** What the server put into its Secret. */
  readonly key: string;
  /** What `helm install` said when it was done. */
  readonly notes: string;
  /** `helm install --wait`, once more: on the data that was left. */
  install(): Promise<void>;
  /** Resolves with what helm printed; rejects with its exit code as `code` and that in `stdout`, `stderr`. */
  helm(...args: string[]): Promise<string>;
  kubectl(...args: string[]): Promise<string>;
  /** kubectl get, as JSON. */
  get(...args: string[]): Promise<Kubernetes>;
  /** The pods of the server that are not on their way out. */
  servers(): Promise<Kubernetes[]>;
  /** Takes away whatever of it is still there. */
  remove(): Promise<void>;
}

/** Names of the release, and of the chart's objects. */
export const name = 'aideator';
const keySecret = `${name}-admin-key`;
const serverPods = `app.kubernetes.io/instance=${name},app.kubernetes.io/component=server`;

/**
 * `helm install --wait` in a namespace that is there. @param values over those that a small node and the images of this checkout need.
 */
export async function installRelease(
  cluster: RealCluster,
  namespace: string,
  values: Record<string, unknown>,
): Promise<Release> {
  const agents = `${namespace}-agents`;
  const home = mkdtempSync(join(tmpdir(), 'aid-release-'));
  const file = join(home, 'values.yaml');
  const env = { ...process.env, KUBECONFIG: cluster.kubeconfig };
  const helm = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)('helm', args, { env, encoding: 'utf8' });
    return stdout;
  };
  const kubectl = (...args: string[]) => ask(cluster, ...args);
  const get = async (...args: string[]): Promise<Kubernetes> => JSON.parse(await kubectl('get', ...args, '-o', 'json'));
  const remove = async () => {
    await helm('uninstall', name, '-n', namespace, '--ignore-not-found', '--wait').catch(() => undefined);
    await kubectl('delete', `pv/${namespace}`, `namespace/${agents}`, '--ignore-not-found', '--wait=false');
    rmSync(home, { recursive: true, force: true });
  };
  let [url, key, notes] = ['', '', ''];
  const install = async () => {
    notes = await helm('install', name, chart, '-n', namespace, '-f', file, '--wait', '--timeout', '4m');
    const service = await get('service', name, '-n', namespace);
    const secret = await get('secret', keySecret, '-n', namespace);
    url = `http://${service.spec.clusterIP}:${service.spec.ports[0].port}`;
    key = Buffer.from(secret.data.key, 'base64').toString();
  };
  try {
    cluster.apply(volumeIn(home, namespace), staleKey(namespace));
    writeFileSync(file, stringify(valuesFor(cluster, agents, values)));
    await install();
  } catch (error) {
    // What is there when an installation fails is the only way to see why.
    const seen = await kubectl('get', 'pods,events', '-n', namespace).catch(() => '');
    process.stderr.write(`${seen}\n`);
    await remove();
    throw error;
  }
  return {
    namespace,
    agents,
    get url() {
      return url;
    },
    get key() {
      return key;
    },
    get notes() {
      return notes;
    },
    install,
    helm,
    kubectl,
    get,
    servers: async () => {
      const { items } = await get('pods', '-n', namespace, '-l', serverPods);
      return items.filter(({ metadata }: Kubernetes) => metadata.deletionTimestamp === undefined);
    },
    remove,
    ...talkTo(
      () => url,
      () => key,
    ),
  };
}

/** Of an installation that is no more: the server takes it back, and puts a key in its place that is one. */
function staleKey(namespace: string): object {
  const metadata = { name: keySecret, namespace };
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata,
    stringData: { key: 'aid_aaaaaaaaaa_of_a_database_that_is_gone' },
  };
}

/** A folder of this machine, which is the node, for the one claim that it is for. */
function volumeIn(home: string, namespace: string): object {
  const path = mkdtempSync(join(home, 'volume-'));
  chmodSync(home, 0o755);
  // Kubernetes gives no hostPath to the pod's group.
  chmodSync(path, 0o777);
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: namespace },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Retain',
      storageClassName: '',
      claimRef: { namespace, name: `${name}-data` },
      hostPath: { path },
    },
  };
}

function valuesFor({ apiImage, agentImage }: RealCluster, agents: string, values: Record<string, unknown>): object {
  const registry = apiImage.slice(0, apiImage.lastIndexOf('/'));
  const tagOf = (image: string) => image.slice(image.lastIndexOf(':') + 1);
  const { resources, recorder_resources: recorderResources } = smallResources;
  return {
    imageRegistry: registry,
    server: {
      image: { tag: tagOf(apiImage) },
      preStopSeconds: 1,
      resources: { requests: { cpu: '10m', memory: '128Mi' } },
    },
    agents: {
      image: { tag: tagOf(agentImage) },
      namespace: agents,
      createNamespace: true,
      resources,
      recorderResources,
    },
    persistence: { size: '1Gi', storageClass: '-' },
    ...values,
  };
}
