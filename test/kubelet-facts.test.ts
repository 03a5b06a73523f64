import { expect, onTestFinished, test } from 'vitest';
import { createApi } from '../src/runtime/kubernetes/client/api.ts';
import { createTransport } from '../src/runtime/kubernetes/client/transport.ts';
import { fixedCredentials, startKubeApi } from './support/kube-api.ts';
import { kubeletFacts, type KubeletWorld, type Step } from './support/kubelet-facts.ts';
import { createPki } from './support/pki.ts';

const pki = createPki();

/** The played kubelet, doing what the steps say. */
async function playedWorld(): Promise<KubeletWorld> {
  const server = await startKubeApi(pki);
  const transport = createTransport({ credentials: fixedCredentials(server, pki) });
  onTestFinished(() => transport.close());
  const ended = new Map<string, Promise<void>>();
  let count = 0;
  const name = (): string => `pod-${(count += 1)}`;
  return {
    api: createApi(transport, 'test'),
    run: async (steps: readonly Step[]) => {
      const pod = name();
      const container = server.logs.start(pod);
      const act = async () => {
        for (const step of steps) {
          if ('print' in step && step.withoutLf === true) return container.end(step.print);
          if ('print' in step) container.print(step.print);
          else await new Promise((resolve) => setTimeout(resolve, step.sleepMs));
        }
        return container.end();
      };
      ended.set(pod, act());
      return pod;
    },
    over: async (pod) => ended.get(pod),
    waiting: async () => {
      const pod = name();
      server.logs.pending(pod);
      return pod;
    },
    unscheduled: async () => {
      const pod = name();
      server.logs.unscheduled(pod);
      return pod;
    },
    collected: async () => {
      const pod = name();
      server.logs.start(pod).collect();
      return pod;
    },
  };
}

test.each(kubeletFacts)('the played kubelet: $says', async ({ check }) => {
  expect.hasAssertions();
  await check(await playedWorld());
});
