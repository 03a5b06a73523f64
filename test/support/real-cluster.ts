import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { tempDir } from './temp.ts';

/**
 * A real cluster for tests. Named by AIDEATOR_TEST_KUBECONFIG, with the images of this checkout in AIDEATOR_TEST_AGENT_IMAGE and
 * AIDEATOR_TEST_API_IMAGE: scripts/test-kubernetes.mjs finds or makes them. Pods must reach this machine.
 */
export interface RealCluster {
  kubeconfig: string;
  agentImage: string;
  apiImage: string;
  /** Runs kubectl; answers what it printed. Throws with what it complained of. */
  kubectl(...args: string[]): string;
  /** As JSON. */
  get<T = Kubernetes>(...args: string[]): T;
  apply(...objects: object[]): void;
}

/** What kubectl prints, as far as tests look into it. */
// oxlint-disable-next-line typescript/no-explicit-any -- any shape that Kubernetes has
export type Kubernetes = any;

/** The cluster; null where there is none, said out loud. */
export function realCluster(): RealCluster | null {
  const { AIDEATOR_TEST_KUBECONFIG: kubeconfig, AIDEATOR_TEST_AGENT_IMAGE: agentImage } = process.env;
  const apiImage = process.env['AIDEATOR_TEST_API_IMAGE'];
  if (kubeconfig === undefined || agentImage === undefined || apiImage === undefined) {
    process.stderr.write(
      'SKIPPED: no cluster (AIDEATOR_TEST_KUBECONFIG is not set): nothing of Kubernetes was tested\n',
    );
    return null;
  }
  const env = { ...process.env, KUBECONFIG: kubeconfig };
  const kubectl = (...args: string[]) =>
    execFileSync('kubectl', args, { env, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] });
  return {
    kubeconfig,
    agentImage,
    apiImage,
    kubectl,
    get: (...args) => JSON.parse(kubectl('get', ...args, '-o', 'json')),
    apply: (...objects) => {
      const input = objects.map((object) => stringify(object)).join('---\n');
      execFileSync('kubectl', ['apply', '-f', '-'], { env, input, stdio: ['pipe', 'ignore', 'pipe'] });
    },
  };
}

/** A namespace of a test's own, at the Pod Security level `restricted`. Returns the way to delete it. */
export function makeNamespace({ apply, kubectl }: RealCluster, name: string): () => void {
  apply({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  });
  return () => void kubectl('delete', 'namespace', name, '--wait=false');
}

/** An address of this machine that pods reach: of the cluster's only node, where that is this machine. */
export function addressForPods({ get }: RealCluster): string {
  const [node] = get('nodes').items;
  const address = node?.status.addresses.find(({ type }: { type: string }) => type === 'InternalIP')?.address as string;
  const ours = Object.values(networkInterfaces())
    .flat()
    .map((each) => each?.address);
  if (!ours.includes(address)) throw new Error(`pods reach ${address}, which is not this machine`);
  return address;
}

/** A port that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '0.0.0.0', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** Settings of a server on this machine whose attempts are Jobs of a namespace. */
export async function clusterSettings(
  cluster: RealCluster,
  namespace: string,
  more: { settings?: Record<string, unknown>; kubernetes?: Record<string, unknown> } = {},
): Promise<Record<string, unknown>> {
  const port = await freePort();
  return {
    runtime: 'kubernetes',
    door_host: '0.0.0.0',
    door_port: port,
    door_url: `http://${addressForPods(cluster)}:${port}`,
    ...more.settings,
    kubernetes: {
      kubeconfig: cluster.kubeconfig,
      namespace,
      image: cluster.agentImage,
      ...more.kubernetes,
    },
  };
}

/** A folder for a server that is its own process. */
export function serverFolder(settings: Record<string, unknown>): { home: string; config: string } {
  const home = tempDir();
  mkdirSync(home, { recursive: true });
  const config = join(home, 'config.yaml');
  writeFileSync(config, stringify(settings));
  return { home, config };
}
