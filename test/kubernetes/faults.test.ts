import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import type { Event, EventPage, Run } from '../../src/contract/api.ts';
import { heard, talker } from '../support/pod-agent.ts';
import { clusterSettings, makeNamespace, realCluster } from '../support/real-cluster.ts';
import { prepareServer, type ServerProcess } from '../support/server-process.ts';
import { sourceRepository } from '../support/sources.ts';
import { until } from '../support/until.ts';

/** Faults of the real thing: whatever dies in between, each event is stored once, in order, and the hash over all of them fits. */

const cluster = realCluster();
const namespace = `aideator-faults-${process.pid}`;
const script = 'models: { any: { turns: [{ text: hello }] } }';
/** The script that restarts a part of the cluster, where it is known; see .ci/run. */
const restarter = process.env['AIDEATOR_TEST_CLUSTER'];

async function serverFor(agent: string[], kubernetes: Record<string, unknown> = {}): Promise<ServerProcess> {
  const settings = await clusterSettings(cluster!, namespace, {
    settings: { default_model: 'scripted/any', default_agent: 'talker', agents: { talker: { command: agent } } },
    kubernetes,
  });
  const server = prepareServer({ script, settings });
  await server.start();
  return server;
}

async function allEvents(server: ServerProcess, runId: string): Promise<Event[]> {
  const events: Event[] = [];
  for (let after: number | null = 0; after !== null;) {
    const { body }: { body: EventPage } = await server.api<EventPage>(
      'GET',
      `/api/v1/runs/${runId}/outputs?after=${after}&limit=1000`,
    );
    events.push(...body.events);
    after = body.next_after;
  }
  return events;
}

const spoken = async (server: ServerProcess, runId: string) => heard(await allEvents(server, runId)).length;
const dense = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

async function expectWhole(server: ServerProcess, runId: string, count: number): Promise<Run> {
  const run = await server.over(runId, 120_000);
  expect(run.variations.map(({ status, message }) => [status, message])).toEqual([['succeeded', null]]);
  expect(run.variations[0]?.attempts).toMatchObject([{ log_complete: true, gaps: [] }]);
  expect(heard(await allEvents(server, runId))).toEqual(dense(count));
  return run;
}

describe.runIf(cluster !== null)('in the middle of a run', () => {
  const remove = cluster === null ? () => undefined : makeNamespace(cluster, namespace);
  afterAll(remove);

  it('the server is killed three times, and is away while the pod’s log is rotated', async () => {
    const count = 2400;
    const server = await serverFor(talker({ count, everyMs: 10, bytes: 900 }));
    const runId = await server.submit({ repository: sourceRepository(), prompt: 'Count.', variations: 1 });
    await until(async () => (await spoken(server, runId)) > 50, 60_000);
    await server.kill();
    await pause(500);
    await server.start();
    await pause(1500);
    await server.kill();
    // Two megabytes pass meanwhile, ten times what a kubelet with 200 KiB files keeps readable.
    await pause(14_000);
    await server.start();
    await pause(300);
    await server.kill();
    await server.start();
    const run = await expectWhole(server, runId, count);
    const [name = ''] = run.variations.flatMap(({ attempts }) => attempts.map(({ job }) => job ?? ''));
    const readable = cluster!.kubectl('logs', '-n', namespace, `job/${name}`);
    // Else nothing was rotated, and this was the easy case: see KUBELET_LOG_MAX_SIZE in .ci/run.
    if (readable.includes('#1 x')) process.stderr.write('SKIPPED: the kubelet did not rotate the log in between\n');
    expect(readable).toContain('"type":"eof"');
  });

  it('a run that ends while the server is away waits for it, result and all', async () => {
    const server = await serverFor(talker({ count: 100, everyMs: 20 }));
    const runId = await server.submit({ repository: sourceRepository(), prompt: 'Count.', variations: 1 });
    await until(async () => (await spoken(server, runId)) > 10, 60_000);
    await server.kill();
    await pause(6000);
    const [pod] = cluster!.get('pods', '-n', namespace, '-l', `aideator.dev/run=${runId}`).items;
    expect(pod.status.phase).toBe('Running');
    await server.start();
    const run = await expectWhole(server, runId, 100);
    expect(run.variations[0]).toMatchObject({ files_changed: 1 });
    await until(
      () => cluster!.get('jobs', '-n', namespace, '-l', `aideator.dev/run=${runId}`).items[0]?.status.succeeded === 1,
      30_000,
    );
  });

  it('is taken over within ten seconds, and no Job is made twice', async () => {
    const server = await serverFor(talker({ count: 600, everyMs: 20 }));
    const runId = await server.submit({ repository: sourceRepository(), prompt: 'Count.', variations: 3 });
    await until(async () => (await spoken(server, runId)) > 100, 90_000);
    await server.kill();
    const before = Date.now();
    await server.start();
    const last = (await allEvents(server, runId)).at(-1)?.id ?? 0;
    await until(async () => {
      const events = (await allEvents(server, runId)).filter((event) => event.id > last);
      return (
        new Set(events.filter(({ type }) => type === 'agent_output').map((event) => event.data['variation_id']))
          .size === 3
      );
    }, 30_000);
    expect(Date.now() - before).toBeLessThan(10_000);
    const run = await server.over(runId, 120_000);
    expect(run.variations.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(run.variations.map(({ attempts }) => attempts.length)).toEqual([1, 1, 1]);
    expect(cluster!.get('jobs', '-n', namespace, '-l', `aideator.dev/run=${runId}`).items).toHaveLength(3);
  });

  it.runIf(restarter !== undefined && existsSync(restarter)).each(['kube-apiserver', 'kubelet'])(
    'the %s is restarted: nothing is lost, and the run goes on',
    async (component) => {
      const count = 900;
      const server = await serverFor(talker({ count, everyMs: 20, bytes: 200 }));
      const runId = await server.submit({ repository: sourceRepository(), prompt: 'Count.', variations: 1 });
      await until(async () => (await spoken(server, runId)) > 50, 60_000);
      execFileSync(restarter ?? '', ['restart', component], { stdio: 'ignore' });
      expect((await expectWhole(server, runId, count)).status).toBe('completed');
    },
  );

  it('the pod’s recorder is killed: the attempt is lost by name, and its work is kept', async () => {
    const server = await serverFor(talker({ count: 5000, everyMs: 20 }));
    const runId = await server.submit({ repository: sourceRepository(), prompt: 'Count.', variations: 1 });
    await until(async () => (await spoken(server, runId)) > 20, 60_000);
    killRecorder(runId);
    const run = await server.over(runId, 90_000);
    expect(run.variations[0]).toMatchObject({ status: 'failed', end_reason: 'lost' });
    const numbers = heard(await allEvents(server, runId));
    expect(numbers).toEqual(dense(numbers.length));
  });
});

/** Kills the recorder's process from outside, on the node, which is this machine. */
function killRecorder(runId: string): void {
  const [pod] = cluster!.get('pods', '-n', namespace, '-l', `aideator.dev/run=${runId}`).items;
  const uid = String(pod.metadata.uid);
  const found = execFileSync(
    'sh',
    ['-c', `grep -lz "AIDEATOR_POD_UID=${uid}" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3`],
    { encoding: 'utf8' },
  );
  const pids = found.split('\n').filter((pid) => pid !== '');
  expect(pids.length).toBeGreaterThan(0);
  for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
}
