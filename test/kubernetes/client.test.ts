import { expect, onTestFinished, test } from 'vitest';
import { answeredWith } from '../../src/runtime/kubernetes/client/api-error.ts';
import { isSame } from '../../src/runtime/kubernetes/client/api.ts';
import { followLog } from '../../src/runtime/kubernetes/client/log-follower.ts';
import type { Job, Pod } from '../../src/runtime/kubernetes/client/objects.ts';
import { reviewPermissions } from '../../src/runtime/kubernetes/client/permissions.ts';
import { readLog } from '../../src/runtime/kubernetes/client/read-log.ts';
import { watchCollection } from '../../src/runtime/kubernetes/client/watch.ts';
import { kubeletFacts, type KubeletWorld, type Step } from '../support/kubelet-facts.ts';
import { describeOnCluster, shellJob, type RealCluster } from '../support/cluster-api.ts';
import { until } from '../support/until.ts';

const stateOf = (pod: Pod | undefined) => pod?.status?.containerStatuses?.[0]?.state;

/** Pods of a real cluster that do what the steps say. */
function realWorld({ api }: RealCluster): KubeletWorld {
  const podOf = async (name: string): Promise<Pod | undefined> => (await api.pods.list(`name=${name}`))[0];
  const start = async (script: string, more: Parameters<typeof shellJob>[2], isReady: (pod: Pod) => boolean) => {
    const name = `fact-${crypto.randomUUID().slice(0, 8)}`;
    await api.jobs.create(shellJob(name, script, more));
    let pod: Pod | undefined;
    await until(async () => {
      pod = await podOf(name);
      return pod !== undefined && isReady(pod);
    }, 200_000);
    return pod?.metadata.name ?? '';
  };
  const shell = (step: Step): string => {
    if (!('print' in step)) return `sleep ${step.sleepMs / 1000}`;
    return `printf '%s${step.withoutLf === true ? '' : '\\n'}' '${step.print}'`;
  };
  return {
    api,
    run: (steps) =>
      start(steps.map(shell).join('; '), {}, (pod) => {
        const state = stateOf(pod);
        return state?.running !== undefined || state?.terminated !== undefined;
      }),
    over: (pod) => until(async () => stateOf(await api.pods.get(pod))?.terminated !== undefined, 60_000),
    waiting: () =>
      start('true', { image: 'localhost:1/there-is-no-such-image' }, (pod) => stateOf(pod)?.waiting !== undefined),
    unscheduled: () =>
      start('true', { pod: { nodeSelector: { nowhere: 'nothing' } } }, (pod) =>
        (pod.status?.conditions ?? []).some(({ reason }) => reason === 'Unschedulable'),
      ),
    // Too much in a volume has the pod evicted, and the kubelet then removes the container.
    collected: async () => {
      const full = 'head -c 30000000 /dev/zero > /full/file; sleep 600';
      const volumes = [{ name: 'full', emptyDir: { sizeLimit: '1Mi' } }];
      const job = shellJob('unused', full, {});
      const [container] = job.spec.template.spec.containers;
      const containers = [{ ...container, volumeMounts: [{ name: 'full', mountPath: '/full' }] }];
      const pod = await start(full, { pod: { volumes, containers } }, ({ status }) => status?.reason === 'Evicted');
      await until(async () => {
        let text = '';
        try {
          await api.pods.log(
            { pod, container: 'main' },
            { idleMs: 30_000, onData: (chunk) => (text += chunk.toString('latin1')) },
          );
        } catch (error) {
          if (answeredWith(error, 400)) return true;
          throw error;
        }
        return text !== '';
        // Dead containers are collected once a minute or so, evicted pods' as well.
      }, 180_000);
      return pod;
    },
  };
}

describeOnCluster((cluster) => {
  test.each(kubeletFacts)('the kubelet: $says', { timeout: 420_000 }, async ({ check }) => {
    expect.hasAssertions();
    await check(realWorld(cluster()));
  });

  test('a Job from its creation to its deletion: watched, followed, read again, deleted', async () => {
    const { api } = cluster();
    const told: string[] = [];
    const problems: string[] = [];
    const onProblem = (message: string) => problems.push(message);
    const jobs = watchCollection({
      api,
      collection: 'jobs',
      labelSelector: 'test=client',
      onProblem,
      onChange: (type, job) => {
        if (job.metadata.name === 'whole') told.push(type);
      },
    });
    let follower: ReturnType<typeof followLog> | null = null;
    const pods = watchCollection({
      api,
      collection: 'pods',
      labelSelector: 'name=whole',
      onProblem,
      onChange: () => follower?.poke(),
    });
    onTestFinished(async () => {
      await Promise.all([jobs.close(), pods.close()]);
      follower?.stop();
    });
    await Promise.all([jobs.whenSynced(), pods.whenSynced()]);

    const script = 'i=0; while [ $i -lt 300 ]; do echo "line $i ü€😀"; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 1; done';
    const made = await api.jobs.create(shellJob('whole', script));
    await expect(api.jobs.create(shellJob('whole', script))).rejects.toMatchObject({ httpStatus: 409 });
    await until(() => pods.list().length === 1);
    const pod = pods.list()[0] as Pod;
    const lines: string[] = [];
    follower = followLog({
      api,
      pod: pod.metadata.name,
      container: 'main',
      onLine: (line) => lines.push(line.toString('utf8')),
      onProblem,
      isOver: () => stateOf(pods.get(pod.metadata.name))?.terminated !== undefined,
    });
    expect(await follower.done).toEqual({ kind: 'over' });
    const expected = Array.from({ length: 300 }, (_, n) => `line ${n} ü€😀`);
    expect([...new Set(lines)]).toEqual(expected);
    const again: string[] = [];
    const onLine = (line: Buffer) => again.push(line.toString('utf8'));
    expect(await readLog({ api, pod: pod.metadata.name, container: 'main', onLine, onProblem })).toBe('whole');
    expect(again).toEqual(expected);

    const isComplete = (job: Job | undefined) =>
      (job?.status?.conditions ?? []).some(({ type, status }) => type === 'Complete' && status === 'True');
    await until(() => isComplete(jobs.get('whole')));
    expect(isSame(jobs.get('whole') as Job, made)).toBe(true);
    expect((await api.jobs.list('test=client')).map(({ metadata }) => metadata.name)).toContain('whole');
    expect((await api.events({ uid: made.metadata.uid })).map(({ reason }) => reason)).toContain('SuccessfulCreate');

    await api.jobs.patch('whole', { spec: { ttlSecondsAfterFinished: 3600 } });
    await until(() => jobs.get('whole')?.spec.ttlSecondsAfterFinished === 3600);
    await expect(api.jobs.delete('whole', { uid: 'another' })).rejects.toMatchObject({ httpStatus: 409 });
    await api.jobs.delete('whole', { propagationPolicy: 'Foreground', uid: made.metadata.uid });
    await until(() => jobs.get('whole') === undefined && pods.list().length === 0);
    await expect(api.jobs.get('whole')).rejects.toMatchObject({ httpStatus: 404, reason: 'NotFound' });
    expect(told[0]).toBe('added');
    expect(told.at(-1)).toBe('deleted');
    expect(problems).toEqual([]);
  });

  test('a pod that is deleted while its log is followed is the end of it', async () => {
    const { api } = cluster();
    const pod = await realWorld(cluster()).run([{ print: 'one' }, { sleepMs: 600_000 }]);
    const lines: string[] = [];
    const follower = followLog({
      api,
      pod,
      container: 'main',
      onLine: (line) => lines.push(line.toString('utf8')),
      onProblem: () => undefined,
      isOver: () => false,
    });
    await until(() => lines.length > 0);
    const { ownerReferences } = (await api.pods.get(pod)).metadata;
    await api.jobs.delete(ownerReferences?.[0]?.name ?? '');
    expect(await follower.done).toEqual({ kind: 'gone' });
  });

  test('what would be made is checked, and not made; a field that does not exist is refused', async () => {
    const { api } = cluster();
    const job = shellJob('dry', 'true');
    expect((await api.jobs.create(job, { dryRun: true })).metadata.name).toBe('dry');
    await expect(api.jobs.get('dry')).rejects.toMatchObject({ httpStatus: 404 });
    const misspelt = { ...job, spec: { ...job.spec, backofLimit: 0 } };
    await expect(api.jobs.create(misspelt, { dryRun: true })).rejects.toMatchObject({
      httpStatus: 400,
      message: expect.stringContaining('backofLimit') as string,
    });
  });

  test('a Secret is made and removed; rights are asked for; the version is known', async () => {
    const { api } = cluster();
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'token' }, stringData: { token: 'x' } };
    expect((await api.secrets.create(secret)).metadata.uid).toMatch(/-/);
    await api.secrets.delete('token');
    await expect(api.secrets.delete('token')).rejects.toMatchObject({ httpStatus: 404 });
    expect((await reviewPermissions(api)).filter(({ allowed }) => !allowed)).toEqual([]);
    expect(Number((await api.version()).major)).toBe(1);
  });

  test('a list in pages is whole, and a watch goes on from it', async () => {
    const { api } = cluster();
    const names = Array.from({ length: 7 }, (_, n) => `page-${n}`);
    const suspended = (name: string) => {
      const job = shellJob(name, 'true');
      return { ...job, metadata: { name, labels: { pages: 'yes' } }, spec: { ...job.spec, suspend: true } };
    };
    await Promise.all(names.map((name) => api.jobs.create(suspended(name))));
    const problems: string[] = [];
    const watch = watchCollection({
      api,
      collection: 'jobs',
      labelSelector: 'pages=yes',
      onChange: () => undefined,
      onProblem: (message) => problems.push(message),
      timings: { pageLimit: 3, timeoutSeconds: [1, 1] },
    });
    onTestFinished(() => watch.close());
    await watch.whenSynced();
    expect(
      watch
        .list()
        .map(({ metadata }) => metadata.name)
        .toSorted(),
    ).toEqual(names);
    // Over several watches, each of a second.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await api.jobs.create(suspended('page-new'));
    await until(() => watch.get('page-new') !== undefined);
    await Promise.all([...names, 'page-new'].map((name) => api.jobs.delete(name)));
    await until(() => watch.list().length === 0);
    expect(problems).toEqual([]);
  });
});
