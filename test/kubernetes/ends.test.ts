import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Run } from '../../src/contract/api.ts';
import { labels } from '../../src/contract/pod.ts';
import {
  agentInPod,
  ask,
  eventsOf,
  objectsOf,
  saidBy,
  startClusterHouse,
  tell,
  type ClusterHouse,
} from '../support/cluster-house.ts';
import { makeNamespace, realCluster, type Kubernetes } from '../support/real-cluster.ts';
import { gitAs, sourceRepository } from '../support/sources.ts';
import { tempDir } from '../support/temp.ts';
import { until } from '../support/until.ts';

/** Attempts that are ended while they run: by Kubernetes, by people, by their own limits. What they said and did is there. */

const cluster = realCluster();
const namespace = `kubetests-ends-${process.pid}`;
const script = 'models: { any: { turns: [{ text: hello }] } }';

const agents = {
  hog: agentInPod('hog'),
  exits: agentInPod('exit', '3'),
  lingers: agentInPod('linger'),
  writes: agentInPod('write', 'value.txt=done'),
  swells: agentInPod('swell', '32'),
};

async function until120(condition: () => boolean | Promise<boolean>): Promise<void> {
  await until(condition, 120_000);
}

describe.runIf(cluster !== null)('an attempt that is ended while it runs', () => {
  const remove = cluster === null ? () => undefined : makeNamespace(cluster, namespace);
  afterAll(remove);

  /** The pod of a variation. */
  async function podOf(runId: string, variation: number): Promise<Kubernetes> {
    const pods = await objectsOf(cluster!, namespace, 'pods', runId);
    return pods.find(({ metadata }) => metadata.labels[labels.variation] === String(variation));
  }

  it('ends with its own reason and what it had said; none ends another one', async () => {
    if (cluster === null) return;
    const house = await startClusterHouse(cluster, namespace, {
      script,
      settings: { default_model: 'scripted/any', agents, max_parallel: 10 },
      kubernetes: { grace_seconds: 20, volumes: { workspace: '16Mi' } },
    });
    const lingers = { agent: 'lingers' };
    const runId = await house.submit({
      repository: sourceRepository({ 'value.txt': 'none\n' }),
      prompt: 'Do it.',
      variations: [
        { agent: 'hog' },
        { agent: 'exits' },
        { agent: 'lingers', limits: { timeout_seconds: 5 } },
        lingers, // its Job is deleted
        lingers, // its pod is evicted
        lingers, // its pod is deleted by force
        lingers, // its Job's deadline passes
        { agent: 'writes' },
        { agent: 'swells' }, // its work tree outgrows its volume
      ],
      max_parallel: 10,
    });
    const job = (variation: number) => `agent-${runId}-${variation}`;
    const waits = async (variation: number) =>
      until120(async () => (await saidBy(house, runId, variation)).includes('waiting'));
    const doTo: Record<number, () => Promise<unknown>> = {
      3: () => ask(cluster, 'delete', 'job', job(3), '-n', namespace, '--wait=false'),
      4: async () => {
        const { name } = (await podOf(runId, 4)).metadata;
        const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } };
        const path = `/api/v1/namespaces/${namespace}/pods/${name}/eviction`;
        await tell(cluster, eviction, ['create', '--raw', path]);
      },
      5: async () => {
        const { name } = (await podOf(runId, 5)).metadata;
        await ask(cluster, 'delete', 'pod', name, '-n', namespace, '--grace-period=0', '--force', '--wait=false');
      },
      6: () => ask(cluster, 'patch', 'job', job(6), '-n', namespace, '-p', '{"spec":{"activeDeadlineSeconds":1}}'),
    };
    await Promise.all(
      Object.entries(doTo).map(async ([variation, done]) => {
        await waits(Number(variation));
        await done();
      }),
    );
    const run = await house.over(runId, 150_000);
    expect(run.variations.map(({ end_reason, message, status }) => [status, end_reason, message])).toEqual([
      ['failed', 'oom_killed', expect.stringMatching(/memory/)],
      ['failed', 'agent_exit', expect.stringMatching(/3.*going down/s)],
      ['failed', 'timeout', expect.stringMatching(/5 s/)],
      ['failed', 'job_deleted', 'The Job was deleted.'],
      ['failed', 'evicted', expect.stringMatching(/EvictionByEvictionAPI.*Eviction API/)],
      ['failed', 'job_deleted', 'The pod was deleted.'],
      ['failed', 'deadline_exceeded', expect.stringMatching(/Job was active longer than specified deadline/)],
      ['succeeded', 'end_turn', null],
      ['failed', 'evicted', expect.stringMatching(/EmptyDir volume "workspace" exceeds the limit "16Mi"/)],
    ]);
    expect([run.status, run.summary]).toEqual(['completed', '1 of 9 variations succeeded']);
    expect(await saidBy(house, runId, 8)).toContain('waiting');

    // All that was said before the kill is there, and whole where the recorder outlived the agent.
    expect((await saidBy(house, runId, 0)).filter((text) => text.startsWith('before'))).toHaveLength(20);
    expect((await eventsOf(house, runId, 1)).some(({ data }) => data['kind'] === 'stderr')).toBe(true);
    // Neither the forced deletion nor this eviction gives a recorder its grace.
    const whole = run.variations.filter(({ variation_id: each }) => each !== 5 && each !== 8);
    expect(whole.map(({ attempts: [attempt] }) => [attempt?.log_complete, attempt?.gaps])).toEqual(
      whole.map(() => [true, []]),
    );
    // So is what it had done.
    await expectPatch(house, run, 0, 'before.txt', 'before');
    for (const each of [2, 3, 4, 6]) await expectPatch(house, run, each, 'half.txt', 'half');
  });

  it('is preempted by a pod that matters more, and its work is kept', async () => {
    if (cluster === null) return;
    // Below every other pod of the cluster: nobody else's is in danger.
    const lowest = `kubetests-lowest-${process.pid}`;
    await tell(cluster, {
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name: lowest },
      value: -1000,
    });
    onTestFinished(() => void cluster.kubectl('delete', 'priorityclass', lowest));
    const free = await freeStorage();
    const take = (share: number) => `${Math.floor((free * share) / 2 ** 20)}Mi`;
    const requests = { cpu: '10m', memory: '64Mi', 'ephemeral-storage': take(0.5) };
    const house = await startClusterHouse(cluster, namespace, {
      script,
      settings: { default_model: 'scripted/any', agents },
      kubernetes: {
        priority_class: lowest,
        grace_seconds: 20,
        resources: { requests, limits: { ...requests, cpu: '1', memory: '256Mi' } },
      },
    });
    const repository = sourceRepository();
    const runId = await house.submit({ repository, prompt: 'Do it.', variations: [{ agent: 'lingers' }] });
    await until120(async () => (await saidBy(house, runId, 0)).includes('waiting'));
    await tell(cluster, idlePod('weightier', { 'ephemeral-storage': take(0.75) }));
    const run = await house.over(runId, 90_000);
    expect(run.variations[0]).toMatchObject({
      end_reason: 'preempted',
      message: expect.stringMatching(/^The pod was preempted: default-scheduler: preempting to accommodate/),
      attempts: [{ log_complete: true }],
    });
    await expectPatch(house, run, 0, 'half.txt', 'half');
  });

  /** Bytes of ephemeral storage that no pod has asked for. */
  async function freeStorage(): Promise<number> {
    const [node] = JSON.parse(await ask(cluster!, 'get', 'nodes', '-o', 'json')).items;
    const { items } = JSON.parse(await ask(cluster!, 'get', 'pods', '-A', '-o', 'json'));
    let free = bytesOf(node.status.allocatable['ephemeral-storage']);
    for (const { spec, status } of items) {
      if (status.phase === 'Succeeded' || status.phase === 'Failed') continue;
      for (const each of [...(spec.initContainers ?? []), ...spec.containers])
        free -= bytesOf(each.resources?.requests?.['ephemeral-storage'] ?? '0');
    }
    return free;
  }

  function idlePod(name: string, requests: Record<string, string>): object {
    const restricted = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
    const container = {
      name: 'idle',
      image: cluster!.agentImage,
      command: ['sleep', '600'],
      resources: { requests },
      securityContext: restricted,
    };
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace },
      spec: {
        terminationGracePeriodSeconds: 1,
        securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [container],
      },
    };
  }
});

/** A quantity of bytes as Kubernetes writes it. */
function bytesOf(quantity: string): number {
  const [, number = '0', unit = ''] = /^(\d+)(\w*)$/.exec(quantity) ?? [];
  return Number(number) * ({ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 }[unit] ?? 1);
}

async function expectPatch(house: ClusterHouse, run: Run, variation: number, file: string, text: string) {
  expect(run.variations[variation]).toMatchObject({ variation_id: variation, files_changed: 1 });
  const patch = await house.api('GET', `/api/v1/runs/${run.run_id}/variations/${variation}/patch`);
  const clone = tempDir();
  gitAs(clone, 'clone', '-q', run.repository, 'base');
  writeFileSync(join(clone, 'patch'), patch.text);
  gitAs(join(clone, 'base'), 'apply', '--index', '../patch');
  expect(gitAs(join(clone, 'base'), 'show', `:${file}`)).toBe(text);
}
