import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Comparison, Run, RunPage } from '../../src/contract/api.ts';
import { forbiddenTo, placeBystanders } from '../support/bystanders.ts';
import { newPerson, type Person } from '../support/cli.ts';
import { eventsOf, isFinished, objectsOf } from '../support/cluster-house.ts';
import { chart, hasHelm } from '../support/helm.ts';
import { ENOUGH, heard, prober, PROBER_PORT, talker, type Seen, type Target } from '../support/pod-agent.ts';
import { makeNamespace, realCluster, type Kubernetes } from '../support/real-cluster.ts';
import { installRelease, name, type Release } from '../support/release.ts';
import { allowAllBut, attemptRights, missed, wordsFor } from '../support/rights.ts';
import { commandsIn, forwarded, shell } from '../support/typed.ts';
import { gitAs } from '../support/sources.ts';
import { subscribe, type Subscriber } from '../support/subscriber.ts';
import { tempDir } from '../support/temp.ts';
import { until } from '../support/until.ts';

/** The chart as it is installed, used, hurt, upgraded and removed: one release, whose tests come in this order. */

const cluster = realCluster();
const isThere = cluster !== null && hasHelm();
const namespace = `charttests-${process.pid}`;
const config = {
  default_model: 'demo/demo',
  agents: { talker: { command: talker({ count: 30_000, everyMs: 20 }) }, prober: { command: prober() } },
};
const repository = '/data/sample';

describe.runIf(isThere)('the chart, installed', () => {
  const removeNamespace = isThere ? makeNamespace(cluster, namespace) : () => undefined;
  let release: Release;
  beforeAll(async () => {
    release = await installRelease(cluster!, namespace, { config });
  });
  afterAll(async () => {
    await release?.remove();
    removeNamespace();
  });

  const logsOf = (what: string) => release.kubectl('logs', '-n', namespace, what);
  const submitted = (agent: string, variations: number, prompt = 'Go on until it is enough.') =>
    release.submit({ repository, prompt, variations, agent });
  const jobsOf = (runId: string) => objectsOf(cluster!, release.agents, 'jobs', runId);
  const podsOf = (runId: string) => objectsOf(cluster!, release.agents, 'pods', runId);
  const uidsOf = (objects: Kubernetes[]) => objects.map(({ metadata }) => String(metadata.uid));

  it('is tested by helm test: a real run, whose thoughts arrived', async () => {
    expect(await release.helm('test', name, '-n', namespace, '--timeout', '2m')).toMatch(/Phase: +Succeeded/);
    expect(await logsOf(`pod/${name}-test`)).toMatch(/first agent_output\n[^]*ok: 1 of 1 variation succeeded, a patch/);
  });

  it('is used as its notes say: five variations through the CLI, compared, one chosen and applied here', async () => {
    const [reach = '', tell = '', run = ''] = commandsIn(release.notes);
    const port = await forwarded(cluster!, reach);
    const [url, key] = shell(cluster!, `${tell.replace('8000', port)}; echo "$AIDEATOR_URL $AIDEATOR_API_KEY"`)
      .trim()
      .split(' ');
    expect(key).toBe(release.key);
    const words = shell(cluster!, `aideator() { printf '%s\\n' "$@"; }; ${run}`).trimEnd().split('\n');
    const person = newGuest({ AIDEATOR_URL: url ?? '', AIDEATOR_API_KEY: key ?? '' });
    const said = async (...argv: string[]) => {
      const { code, out, err } = await person.run(...argv);
      expect([code, err], out).toEqual([0, '']);
      return out;
    };

    const ended: Run = JSON.parse(await said(...words, '--strategy', 'edge-cases-first', '-n', '5', '--json'));
    expect(ended.variations.map(({ status }) => status)).toEqual(Array(5).fill('succeeded'));
    const attempts = ended.variations.flatMap((each) => each.attempts);
    expect(attempts.map(({ log_complete, job }) => [log_complete, job])).toEqual(
      [0, 1, 2, 3, 4].map((each) => [true, `agent-${ended.run_id}-${each}`]),
    );
    const comparison: Comparison = JSON.parse(await said('compare', 'last', '--json'));
    expect(comparison.variations.map(({ same_as }) => same_as)).toEqual([[3], [4], [], [0], [1]]);
    await said('choose', 'last', '1', '--reason', 'It has a test.');

    const folder = tempDir();
    const [clone, patch] = [join(folder, 'sample'), join(folder, 'patch')];
    await said('sample', clone);
    await said('ship', 'last', '--patch', patch);
    gitAs(clone, 'apply', '--check', patch);
    expect(testsOf(clone)).toBe(1);
    gitAs(clone, 'apply', patch);
    expect(testsOf(clone)).toBe(0);
  });

  /** Two attempts that go on until it is enough, somebody who watches them, and what they are made of. */
  async function talk(): Promise<{ runId: string; subscriber: Subscriber; jobs: string[]; pods: string[] }> {
    const runId = await submitted('talker', 2);
    const subscriber = subscribe(`${release.url}/api/v1/runs/${runId}/stream`, release.key);
    const spoken = (variation: number) =>
      heard(subscriber.heard.filter((each) => each.data['variation_id'] === variation));
    await until(() => spoken(0).length > 20 && spoken(1).length > 20, 90_000);
    return { runId, subscriber, jobs: uidsOf(await jobsOf(runId)), pods: uidsOf(await podsOf(runId)) };
  }

  /** Waits until another pod serves, and the subscriber has heard more from it. */
  async function takenOver(subscriber: Subscriber, since: { uid: string; connections: number }): Promise<void> {
    const at = Date.now();
    await until(async () => {
      const servers = await release.servers();
      return servers.length === 1 && servers[0].metadata.uid !== since.uid && isReady(servers[0]);
    }, 120_000);
    const readyAt = Date.now();
    await until(() => subscriber.connections > since.connections, 60_000);
    const count = subscriber.heard.length;
    await until(() => subscriber.heard.length > count + 50, 60_000);
    const [server] = await release.servers();
    const seconds = (until: number) => `${((until - at) / 1000).toFixed(1)} s`;
    process.stderr.write(
      `another server was ready after ${seconds(readyAt)} and ${server.status.containerStatuses[0].restartCount} restarts, heard of again after ${seconds(Date.now())}\n`,
    );
  }

  async function serverNow(subscriber: Subscriber): Promise<{ pod: string; uid: string; connections: number }> {
    const [server] = await release.servers();
    return { pod: server.metadata.name, uid: server.metadata.uid, connections: subscriber.connections };
  }

  /** Ends the talk, and finds that all of it was stored, and seen by the subscriber, once and in order. */
  async function expectWhole({ runId, subscriber, jobs, pods }: Awaited<ReturnType<typeof talk>>): Promise<void> {
    for (const { metadata } of await podsOf(runId))
      await release.kubectl('exec', metadata.name, '-n', release.agents, '-c', 'agent', '--', 'touch', ENOUGH);
    const run = await release.over(runId, 90_000);
    await subscriber.over;
    const events = await eventsOf(release, runId);
    expect(subscriber.heard.map(({ id, type }) => [id, type])).toEqual(events.map(({ id, type }) => [id, type]));
    for (const variation of run.variations) {
      expect(variation).toMatchObject({ status: 'succeeded', attempts: [{ log_complete: true, gaps: [] }] });
      expect(variation.attempts).toHaveLength(1);
      const spoken = heard(events.filter(({ data }) => data['variation_id'] === variation.variation_id));
      const patch = await release.api('GET', `/api/v1/runs/${runId}/variations/${variation.variation_id}/patch`);
      const count = Number(/^\+(\d+)$/m.exec(patch.text)?.[1]);
      expect(spoken).toEqual(Array.from({ length: count }, (_, index) => index + 1));
    }
    await until(async () => (await jobsOf(runId)).every(isFinished));
    expect(uidsOf(await jobsOf(runId))).toEqual(jobs);
    expect(uidsOf(await podsOf(runId))).toEqual(pods);
  }

  it('goes on with its runs when its pod is killed, and when it is drained', async () => {
    const all = await talk();
    for (const how of [['--force', '--grace-period=0'], ['--wait=false']]) {
      const server = await serverNow(all.subscriber);
      await release.kubectl('delete', 'pod', server.pod, '-n', namespace, ...how);
      await takenOver(all.subscriber, server);
    }
    expect(all.subscriber.connections).toBeGreaterThanOrEqual(3);
    await expectWhole(all);
  });

  it('is upgraded while runs run: they and all data are kept', async () => {
    const before = await release.api<RunPage>('GET', '/api/v1/runs');
    const all = await talk();
    const server = await serverNow(all.subscriber);
    const upgrade = ['upgrade', name, chart, '-n', namespace, '--reuse-values', '--wait', '--timeout', '3m'];
    await release.helm(...upgrade, '--set', 'server.logLevel=debug,agents.jobTTL=1234');
    await takenOver(all.subscriber, server);
    await expectWhole(all);
    const after = await release.api<RunPage>('GET', '/api/v1/runs');
    expect(after.body.runs.slice(1)).toEqual(before.body.runs);
    // What was changed holds, also for those that began before.
    await until(async () => (await jobsOf(all.runId)).every(({ spec }) => spec.ttlSecondsAfterFinished === 1234));
  });

  it('refuses a second server on its data, by name, and goes on itself', async () => {
    const scale = (replicas: number) =>
      release.kubectl('scale', 'deployment', name, '-n', namespace, `--replicas=${replicas}`);
    const [first] = await release.servers();
    await scale(2);
    onTestFinished(() => void scale(1));
    let said = '';
    await until(async () => {
      const second = (await release.servers()).find(({ metadata }) => metadata.uid !== first.metadata.uid);
      said = second === undefined ? '' : await logsOf(`pod/${second.metadata.name}`).catch(() => '');
      return said.includes('code: ');
    }, 60_000);
    expect(said).toMatch(
      /^error: \/data is used by another AIdeator server[^]*\n hint: [^]*\n code: data_dir_locked\n/,
    );
    await scale(1);
    await until(async () => (await release.servers()).length === 1);
    const [left] = await release.servers();
    expect([left.metadata.uid, isReady(left)]).toEqual([first.metadata.uid, true]);
  });

  it('needs each of its rights: the doctor names the one that is missing', async () => {
    onTestFinished(() => allowAllBut(release, null));
    const found: Record<string, string[]> = {};
    for (const right of attemptRights.map(wordsFor)) {
      await allowAllBut(release, right);
      // What was changed is known to the API server a moment later.
      await until(async () => (found[right] = await missed(release)).includes(right), 10_000).catch(() => undefined);
    }
    expect(found).toEqual(Object.fromEntries(attemptRights.map((each) => [wordsFor(each), [wordsFor(each)]])));
  });

  it('ends what it may not do with the cluster’s words, and does without what it can do without', async () => {
    onTestFinished(() => allowAllBut(release, null));
    const without = async (right: string) => {
      await allowAllBut(release, right);
      await until(async () => (await missed(release)).includes(right), 10_000);
      const runId = await release.submit({
        repository,
        prompt: 'Fix it.',
        strategies: ['smallest-change'],
        variations: 1,
      });
      return release.over(runId, 90_000);
    };
    for (const right of ['patch jobs.batch', 'create secrets']) {
      const run = await without(right);
      const [verb, resource] = right.replace('.batch', '').split(' ');
      expect(run.variations[0]).toMatchObject({
        end_reason: 'admission_refused',
        message: expect.stringMatching(
          new RegExp(`^Kubernetes refused the Job: .*cannot ${verb} resource "${resource}"`),
        ),
      });
      await until(async () => (await jobsOf(run.run_id)).length === 0);
    }
    const run = await without('get pods/log');
    expect(run.variations[0]).toMatchObject({ status: 'succeeded', attempts: [{ log_complete: true, gaps: [] }] });
    expect(await logsOf(`deployment/${name}`)).toMatch(/"level":"?(40|warn).*cannot get resource \\"pods\/log\\"/);

    // And helm test is able to fail.
    await allowAllBut(release, 'create jobs.batch');
    const failure = await release.helm('test', name, '-n', namespace, '--timeout', '2m').catch((error: Error) => error);
    expect(failure).toBeInstanceOf(Error);
    expect(await logsOf(`pod/${name}-test`)).toMatch(
      /the run is failed: admission_refused, Kubernetes refused the Job: .*cannot create resource "jobs"/,
    );
  });

  it('lets an attempt reach the attempt door and names, and nothing else; nobody reaches an attempt', async (context) => {
    const bystanders = await placeBystanders(cluster!, namespace);
    if (!(await bystanders.isEnforced())) {
      process.stderr.write(
        'SKIPPED: the cluster does not enforce NetworkPolicies: what attempts reach was not tested\n',
      );
      context.skip();
    }
    const door = { host: `${name}-door.${namespace}.svc`, port: 8001 };
    const forbidden = await forbiddenTo(release, bystanders);
    const open = forbidden.map((each) => ({ ...each, expected: 'open' }));
    const targets: Target[] = [
      { name: 'door', ...door, path: '/attempt/link', expected: '403' },
      {
        name: 'door with a token of nobody',
        ...door,
        path: '/repository/info/refs?service=git-upload-pack',
        headers: { authorization: `Bearer ${release.key}` },
        expected: '403',
      },
      ...forbidden,
    ];
    const runId = await submitted('prober', 1, JSON.stringify(targets));
    let seen: Seen[] | undefined;
    await until(async () => {
      const events = await eventsOf(release, runId);
      const said = events.find(({ data }) => data['kind'] === 'agent_message_chunk');
      seen = said === undefined ? undefined : JSON.parse(String(said.data['content']));
      return seen !== undefined;
    }, 90_000);
    expect(answersOf(seen)).toEqual({ itself: 'open', ...wishesOf(targets) });
    const [pod] = await podsOf(runId);
    const attempt = { name: 'attempt', host: pod.status.podIP, port: PROBER_PORT, expected: 'closed' };
    // Who is no attempt reaches all that, and neither the attempt nor its door.
    const others: Target[] = [...open, attempt, { name: 'door', ...door, expected: 'closed' }];
    expect(answersOf(await bystanders.probe(others))).toEqual(wishesOf(others));
    await release.api('POST', `/api/v1/runs/${runId}/cancel`);
    expect((await release.over(runId)).status).toBe('cancelled');
  });

  it('leaves its data and what its notes say when it is removed, and finds them when it comes again', async () => {
    const { body: before } = await release.api<RunPage>('GET', '/api/v1/runs');
    const remove = commandsIn(release.notes).find((each) => each.startsWith('helm uninstall')) ?? '';
    const [uninstall = '', clear = ''] = remove.split(' && ');
    shell(cluster!, `${uninstall} --wait`);
    expect(await ownObjects()).toEqual(clear.split(' ').filter((word) => word.includes('/')));
    // The namespace of attempts is the chart's.
    await until(
      async () => !(await release.kubectl('get', 'namespace', '-o', 'name')).includes(release.agents),
      90_000,
    );

    await release.install();
    const { body: after } = await release.api<RunPage>('GET', '/api/v1/runs');
    expect(after.runs.length).toBeGreaterThan(5);
    expect(after).toEqual(before);

    shell(cluster!, `${uninstall} --wait`);
    shell(cluster!, clear);
    expect(await ownObjects()).toEqual([]);
  });

  /** Whatever is in the release's namespace and has its name. */
  async function ownObjects(): Promise<string[]> {
    const kinds = await release.kubectl('api-resources', '--namespaced', '--verbs=list,delete', '-o', 'name');
    const there = await release.kubectl('get', kinds.trim().replaceAll('\n', ','), '-n', namespace, '-o', 'name');
    return there
      .split('\n')
      .filter((each) => each.includes(`/${name}`) && !each.startsWith('event'))
      .map((each) => each.replace('persistentvolumeclaim/', 'pvc/'))
      .toSorted();
  }
});

/** Somebody whose machine has no server and no settings of its own. */
function newGuest(env: Record<string, string>): Person {
  const person = newPerson({ env });
  writeFileSync(join(person.home, 'config.yaml'), 'log_level: warn\n');
  return person;
}

/** The exit code of the sample's own tests. */
function testsOf(folder: string): number {
  const env = { PATH: process.env['PATH'] ?? '' };
  return spawnSync(process.execPath, ['--test'], { cwd: folder, env, stdio: 'ignore' }).status ?? -1;
}

function isReady(pod: Kubernetes): boolean {
  const conditions: { type: string; status: string }[] = pod.status?.conditions ?? [];
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
}

const answersOf = (seen: readonly Seen[] = []) => Object.fromEntries(seen.map((each) => [each.name, each.seen]));
const wishesOf = (targets: readonly Target[]) => Object.fromEntries(targets.map((each) => [each.name, each.expected]));
