import { probeOnce, type Seen, type Target } from './pod-agent.ts';
import type { RealCluster } from './real-cluster.ts';
import { name, type Release } from './release.ts';
import { ask } from './cluster-house.ts';

/** Pods that have nothing to do with attempts: one that others may reach, and one behind a policy that lets nobody in. */
export interface Bystanders {
  /** Address of the one that may be reached. */
  open: string;
  /** Tries from the walled one, which may reach whatever it likes. */
  probe(targets: readonly Target[]): Promise<Seen[]>;
  /** Whether the cluster does what its NetworkPolicies say: from the open one the walled one is not reached. */
  isEnforced(): Promise<boolean>;
}

/** The port they listen on. */
const BYSTANDER_PORT = 8080;

export async function placeBystanders(cluster: RealCluster, namespace: string): Promise<Bystanders> {
  cluster.apply(listener(cluster, namespace, 'open'), listener(cluster, namespace, 'walled'), {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'walled', namespace },
    spec: { podSelector: { matchLabels: { bystander: 'walled' } }, policyTypes: ['Ingress'] },
  });
  await ask(cluster, 'wait', 'pod', '-l', 'bystander', '-n', namespace, '--for=condition=Ready', '--timeout=90s');
  const [open, walled] = await Promise.all(
    ['open', 'walled'].map((pod) => ask(cluster, 'get', 'pod', pod, '-n', namespace, '-o', 'jsonpath={.status.podIP}')),
  );
  const from = async (pod: string, targets: readonly Target[]): Promise<Seen[]> =>
    JSON.parse(await ask(cluster, 'exec', pod, '-n', namespace, '--', 'node', ...probeOnce(targets)));
  return {
    open: open ?? '',
    probe: (targets) => from('walled', targets),
    isEnforced: async () => {
      const wall = { name: 'walled', host: walled ?? '', port: BYSTANDER_PORT, expected: 'closed' };
      const [found] = await from('open', [wall]);
      return found?.seen === 'closed';
    },
  };
}

function listener({ apiImage }: RealCluster, namespace: string, pod: string): object {
  const amounts = { cpu: '10m', memory: '64Mi', 'ephemeral-storage': '16Mi' };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: pod, namespace, labels: { bystander: pod } },
    spec: {
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'listener',
          image: apiImage,
          command: ['node', '-e', `require('net').createServer((s) => s.end()).listen(${BYSTANDER_PORT})`],
          readinessProbe: { tcpSocket: { port: BYSTANDER_PORT }, periodSeconds: 1 },
          resources: { requests: amounts, limits: { ...amounts, memory: '128Mi', cpu: '500m' } },
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  };
}

/** What an attempt has nothing to do with, and everybody else reaches. */
export async function forbiddenTo({ get, servers, namespace }: Release, { open }: Bystanders): Promise<Target[]> {
  const [server] = await servers();
  const [node] = (await get('nodes')).items;
  const address = node.status.addresses.find(({ type }: { type: string }) => type === 'InternalIP').address;
  const kubernetes = await get('service', 'kubernetes', '-n', 'default');
  const slices = await get('endpointslices', '-n', 'default', '-l', 'kubernetes.io/service-name=kubernetes');
  const [slice] = slices.items;
  const places: [string, string, number][] = [
    ['API server', kubernetes.spec.clusterIP, 443],
    ['API server itself', slice.endpoints[0].addresses[0], slice.ports[0].port],
    ['kubelet', address, 10_250],
    ['another pod', open, BYSTANDER_PORT],
    ['public port', `${name}.${namespace}.svc`, 8000],
    ['public port of the pod', server.status.podIP, 8000],
  ];
  return places.map(([what, host, port]) => ({ name: what, host, port, expected: 'closed' }));
}
