import { afterAll, describe, expect, it } from 'vitest';
import type { Run } from '../../src/contract/api.ts';
import { agentLabels, labels } from '../../src/contract/pod.ts';
import {
  agentInPod,
  ask,
  isFinished,
  objectsOf,
  saidBy,
  startAgain,
  startClusterHouse,
  tell,
  type ClusterHouse,
} from '../support/cluster-house.ts';
import { makeNamespace, realCluster, type Kubernetes } from '../support/real-cluster.ts';
import { sourceRepository } from '../support/sources.ts';
import { until } from '../support/until.ts';

/** What is stopped, forgotten or over is gone from the cluster, in its time; and what is not ours stays. */

const cluster = realCluster();
const namespace = `kubetests-stop-${process.pid}`;
const script = 'models: { any: { turns: [{ text: hello }] } }';
const GRACE = 60;
const settings = {
  default_model: 'scripted/any',
  agents: {
    lingers: agentInPod('linger'),
    stubborn: agentInPod('stubborn'),
    writes: agentInPod('write', 'value.txt=done'),
  },
  max_parallel: 3,
};

const startHouse = (kubernetes: Record<string, unknown> = {}) =>
  startClusterHouse(cluster!, namespace, { script, settings, kubernetes: { grace_seconds: GRACE, ...kubernetes } });

/** How many objects of a run are there, of every kind that we make. */
const left = async (runId: string) => (await objectsOf(cluster!, namespace, 'jobs,pods,secrets', runId)).length;

/** Seconds until something is so. */
async function seconds(condition: () => Promise<boolean>): Promise<number> {
  const since = Date.now();
  await until(condition, 120_000);
  return (Date.now() - since) / 1000;
}

async function tokenOf(runId: string, variation: number): Promise<string> {
  const [secret] = (await objectsOf(cluster!, namespace, 'secrets', runId)).filter(
    ({ metadata }: Kubernetes) => metadata.labels[labels.variation] === String(variation),
  );
  return Buffer.from(secret.data.token, 'base64').toString();
}

/** What the attempt door answers somebody who asks for an attempt with its token. */
async function knock({ settings: { door_url: door } }: ClusterHouse, token: string): Promise<number> {
  const response = await fetch(`${String(door)}/attempt/claim`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ pod_uid: 'somebody' }),
  });
  return response.status;
}

describe.runIf(cluster !== null)('stopping', () => {
  const remove = cluster === null ? () => undefined : makeNamespace(cluster, namespace);
  afterAll(remove);

  it('a run that runs, waits for its pod and is queued: all of it is gone within the grace, and what was said is kept', async () => {
    const house = await startHouse();
    const repository = sourceRepository();
    const lingers = { agent: 'lingers' };
    const variations = [lingers, { agent: 'stubborn' }, lingers, lingers];
    const runId = await house.submit({ repository, prompt: 'Stay.', variations });
    const speaks = async (variation: number) => (await saidBy(house, runId, variation)).length > 0;
    await until(async () => (await speaks(0)) && (await speaks(1)), 90_000);
    const token = await tokenOf(runId, 0);
    // Another pod than the one that has it.
    expect(await knock(house, token)).toBe(409);
    await house.api('POST', `/api/v1/runs/${runId}/cancel`);
    const gone = await seconds(async () => (await left(runId)) === 0);
    const run = await house.over(runId);
    expect(gone).toBeLessThan(GRACE);
    expect(run.status).toBe('cancelled');
    expect(run.variations.map(({ end_reason }) => end_reason)).toEqual(variations.map(() => 'cancelled'));
    expect(run.variations[3]?.attempts).toEqual([]);
    expect(await saidBy(house, runId, 0)).toEqual(['waiting', 'cancelled, as asked']);
    expect(await saidBy(house, runId, 1)).toEqual(['staying']);
    expect(run.variations.slice(0, 2).map(({ attempts: [attempt] }) => attempt?.log_complete)).toEqual([true, true]);
    expect(run.variations[0]?.files_changed).toBe(1);
    expect(await knock(house, token)).toBe(403);
  });

  it('a run whose pods cannot be placed', async () => {
    const house = await startHouse({ node_selector: { 'example.com/nobody': 'has-it' } });
    const runId = await house.submit({ repository: sourceRepository(), prompt: 'Stay.', variations: 2 });
    await until(async () => {
      const { body } = await house.api<Run>('GET', `/api/v1/runs/${runId}`);
      return body.variations.every(({ attempts: [attempt] }) => attempt?.waiting?.reason === 'Unschedulable');
    }, 60_000);
    await house.api('POST', `/api/v1/runs/${runId}/cancel`);
    const gone = await seconds(async () => (await left(runId)) === 0);
    expect(gone).toBeLessThan(15);
    const run = await house.over(runId);
    expect(run.variations.map(({ status, end_reason, running_ms }) => [status, end_reason, running_ms])).toEqual([
      ['cancelled', 'cancelled', null],
      ['cancelled', 'cancelled', null],
    ]);
  });

  it('an early choice ends the others; what was chosen expires in its time, what is not ours stays', async () => {
    const house = await startHouse({ job_ttl_seconds: 5 });
    const variations = [{ agent: 'writes' }, { agent: 'lingers' }];
    const runId = await house.submit({ repository: sourceRepository(), prompt: 'Do it.', variations });
    const state = async () => (await house.api<Run>('GET', `/api/v1/runs/${runId}`)).body.variations;
    await until(async () => (await state())[0]?.status === 'succeeded', 90_000);
    await until(async () => (await saidBy(house, runId, 1)).includes('waiting'), 90_000);
    const [ours] = await objectsOf(cluster!, namespace, 'jobs', runId);
    // One of another server in the same namespace, and one of nobody of us: both over.
    await tell(
      cluster!,
      finishedJob('anothers', { ...ours.metadata.labels, [labels.run]: 'x', [labels.instance]: 'another' }),
    );
    await tell(cluster!, finishedJob('somebodys', {}));

    const chosen = { winning_variation_id: 0, cancel_rest: true };
    expect((await house.api('POST', `/api/v1/runs/${runId}/select`, chosen)).status).toBe(200);
    const run = await house.over(runId);
    expect([run.status, ...run.variations.map(({ end_reason }) => end_reason)]).toEqual([
      'completed',
      'end_turn',
      'superseded',
    ]);
    await until(async () => (await left(runId)) === 0, 60_000);
    const jobs = async () => JSON.parse(await ask(cluster!, 'get', 'jobs', '-n', namespace, '-o', 'json')).items;
    await until(async () => (await jobs()).every(isFinished));
    expect((await jobs()).map(({ metadata }: Kubernetes) => metadata.name)).toEqual(['anothers', 'somebodys']);
    expect(await house.api('GET', `/api/v1/runs/${runId}/variations/0/patch`)).toMatchObject({ status: 200 });

    const forgotten = await house.submit({
      repository: sourceRepository(),
      prompt: 'Stay.',
      variations: [{ agent: 'lingers' }],
    });
    await until(async () => (await saidBy(house, forgotten, 0)).includes('waiting'), 90_000);
    expect((await house.api('DELETE', `/api/v1/runs/${forgotten}`)).status).toBe(202);
    await until(async () => (await left(forgotten)) === 0, 60_000);
    await until(async () => (await house.flow.states()).variations['running'] === undefined);
    expect((await house.api('GET', `/api/v1/runs/${forgotten}`)).status).toBe(404);
    expect(await jobs()).toHaveLength(2);
  });

  it('a next server ends what became of runs without it: a Job without a row, rows without a Job', async () => {
    const first = await startHouse({ grace_seconds: 6 });
    const variations = [{ agent: 'lingers' }, { agent: 'lingers' }];
    const runId = await first.submit({ repository: sourceRepository(), prompt: 'Stay.', variations });
    const speaks = async (variation: number) => (await saidBy(first, runId, variation)).length > 0;
    await until(async () => (await speaks(0)) && (await speaks(1)), 90_000);
    const [job] = await objectsOf(cluster!, namespace, 'jobs', runId);
    await first.close();

    const ours = {
      ...job.metadata.labels,
      [labels.attemptId]: '00000000-0000-4000-8000-000000000000',
      [labels.run]: 'unknown',
    };
    await tell(cluster!, finishedJob('orphan', ours));
    // Taken away while nobody looked: one so that its recorder can say nothing any more, to nobody.
    await ask(cluster!, 'delete', 'job', `agent-${runId}-0`, '-n', namespace, '--cascade=foreground');
    const second = await startAgain(first, script);
    await until(async () => (await objectsOf(cluster!, namespace, 'jobs', 'unknown')).length === 0, 60_000);
    await until(async () => {
      const { body } = await second.api<Run>('GET', `/api/v1/runs/${runId}`);
      return body.variations[0]?.ended_at != null;
    }, 60_000);
    const { body: now } = await second.api<Run>('GET', `/api/v1/runs/${runId}`);
    expect(now.variations.map(({ status, end_reason }) => [status, end_reason])).toEqual([
      ['failed', 'job_deleted'],
      ['running', null],
    ]);
    expect(await saidBy(second, runId, 0)).toContain('waiting');
    await second.api('POST', `/api/v1/runs/${runId}/cancel`);
    const run = await second.over(runId);
    expect(run.variations[1]).toMatchObject({ status: 'cancelled', files_changed: 1 });
    await until(async () => (await left(runId)) === 0, 60_000);
  });
});

/** A Job that is over as soon as it has run for a moment. */
function finishedJob(name: string, its: Record<string, string>): object {
  const container = {
    name: 'agent',
    image: cluster!.agentImage,
    command: ['true'],
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
  };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, namespace, labels: { ...agentLabels, ...its } },
    spec: {
      template: {
        metadata: { labels: its },
        spec: {
          restartPolicy: 'Never',
          securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [container],
        },
      },
    },
  };
}
