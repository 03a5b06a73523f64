import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { afterAll, beforeAll, describe } from 'vitest';
import { answeredWith } from '../../src/runtime/kubernetes/client/api-error.ts';
import { createApi, type KubernetesApi } from '../../src/runtime/kubernetes/client/api.ts';
import { findCredentials } from '../../src/runtime/kubernetes/client/find-credentials.ts';
import { createTransport, type Transport } from '../../src/runtime/kubernetes/client/transport.ts';
import { until } from './until.ts';

/**
 * A real cluster, in a namespace of the test's own that goes with it. Set AIDEATOR_TEST_KUBECONFIG to a kubeconfig of somebody who
 * may make namespaces, and AIDEATOR_TEST_AGENT_IMAGE to an image with a shell that its nodes can pull.
 */
export interface RealCluster {
  readonly api: KubernetesApi;
  readonly transport: Transport;
  readonly namespace: string;
}

const kubeconfig = process.env['AIDEATOR_TEST_KUBECONFIG'] ?? '';

/** An image with a shell. */
export const testImage = process.env['AIDEATOR_TEST_AGENT_IMAGE'] ?? 'node:24-bookworm-slim';

/** A suite that needs a cluster; without one everything in it is skipped, and one line says so. */
export function describeOnCluster(body: (cluster: () => RealCluster) => void): void {
  if (kubeconfig === '') {
    writeSync(2, 'SKIPPED: the Kubernetes client on a real cluster: AIDEATOR_TEST_KUBECONFIG is not set\n');
  }
  describe.skipIf(kubeconfig === '')('on a real cluster', () => {
    let cluster: RealCluster | null = null;
    beforeAll(async () => {
      cluster = await makeNamespace(`test-client-${randomBytes(4).toString('hex')}`);
    });
    afterAll(async () => {
      if (cluster === null) return;
      await cluster.transport.json({ method: 'DELETE', path: `/api/v1/namespaces/${cluster.namespace}` });
      cluster.transport.close();
    });
    body(() => {
      if (cluster === null) throw new Error('only in a test');
      return cluster;
    });
  });
}

async function makeNamespace(namespace: string): Promise<RealCluster> {
  const credentials = await findCredentials({
    kubeconfig,
    context: null,
    serviceHost: undefined,
    servicePort: undefined,
    kubeconfigList: undefined,
    home: undefined,
    programEnv: process.env,
  });
  const transport = createTransport({ credentials });
  const restricted = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await transport.json({
    method: 'POST',
    path: '/api/v1/namespaces',
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: restricted } },
  });
  // Pods are refused until the namespace has its service account.
  await until(async () => {
    try {
      await transport.json({ method: 'GET', path: `/api/v1/namespaces/${namespace}/serviceaccounts/default` });
      return true;
    } catch (error) {
      if (answeredWith(error, 404)) return false;
      throw error;
    }
  });
  return { api: createApi(transport, namespace), transport, namespace };
}

/** A Job that runs a shell script in a container `main`, as Pod Security `restricted` wants it. */
export function shellJob(name: string, script: string, more: { image?: string; pod?: object } = {}) {
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, labels: { test: 'client' } },
    spec: {
      backoffLimit: 0,
      template: {
        metadata: { labels: { test: 'client', name } },
        spec: {
          restartPolicy: 'Never',
          terminationGracePeriodSeconds: 1,
          automountServiceAccountToken: false,
          securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [
            {
              name: 'main',
              image: more.image ?? testImage,
              imagePullPolicy: 'IfNotPresent',
              command: ['sh', '-c', script],
              securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
            },
          ],
          ...more.pod,
        },
      },
    },
  };
}
