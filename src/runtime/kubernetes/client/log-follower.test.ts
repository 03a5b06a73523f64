import { getActiveResourcesInfo } from 'node:process';
import { expect, onTestFinished, test } from 'vitest';
import { fixedCredentials, startKubeApi, type KubeApi } from '../../../../test/support/kube-api.ts';
import { sendStatus, type Fault } from '../../../../test/support/kube-wire.ts';
import { createPki } from '../../../../test/support/pki.ts';
import { seeded } from '../../../../test/support/seeded.ts';
import { until } from '../../../../test/support/until.ts';
import { createApi, type KubernetesApi } from './api.ts';
import { followLog, type FollowTimings, type LogFollower } from './log-follower.ts';
import { readLog } from './read-log.ts';
import { createTransport } from './transport.ts';

const pki = createPki();

interface Cluster {
  server: KubeApi;
  api: KubernetesApi;
}

async function cluster(): Promise<Cluster> {
  const server = await startKubeApi(pki);
  const transport = createTransport({
    credentials: fixedCredentials(server, pki),
    timings: { connectMs: 1000, backoffMs: [1] },
  });
  onTestFinished(() => transport.close());
  return { server, api: createApi(transport, 'test') };
}

interface Followed {
  follower: LogFollower;
  lines: string[];
  problems: string[];
  setOver(): void;
}

function follow(api: KubernetesApi, timings: Partial<FollowTimings> = {}, since?: Date): Followed {
  const lines: string[] = [];
  const problems: string[] = [];
  let isOver = false;
  const follower = followLog({
    api,
    pod: 'pod',
    container: 'main',
    ...(since === undefined ? {} : { since }),
    onLine: (line) => lines.push(line.toString('utf8')),
    onProblem: (message) => problems.push(message),
    isOver: () => isOver,
    timings: { apartMs: 0, backoffMs: [0, 1, 2, 4], idleMs: 5000, ...timings },
  });
  onTestFinished(async () => {
    follower.stop();
    await follower.done;
  });
  return {
    follower,
    lines,
    problems,
    setOver: () => {
      isOver = true;
      follower.poke();
    },
  };
}

/** ns since the epoch, n tenths of a second after a fixed time. */
const at = (n: number): bigint => 1_790_000_000_000_000_000n + BigInt(n) * 100_000_000n;
const sinceTimes = (server: KubeApi): (string | null)[] => server.requests.map(({ query }) => query.get('sinceTime'));

test('lines as they come, without their times; ends when the container is over and all was read', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  const { follower, lines, problems, setOver } = follow(api);
  container.print('one');
  container.print('');
  container.print('  zwei ü€😀 ');
  await until(() => lines.length === 3);
  expect(lines).toEqual(['one', '', '  zwei ü€😀 ']);
  container.end('no LF');
  setOver();
  expect(await follower.done).toEqual({ kind: 'over' });
  expect(lines.at(-1)).toBe('no LF');
  expect(problems).toEqual([]);
  expect(server.requests.at(-1)?.query.get('follow')).toBe('false');
});

test('an end while the container runs is not the end: asked again from two seconds before the last line', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  let isFirst = true;
  server.fault = () => (isFirst ? ((isFirst = false), { afterLines: 50, kind: 'eof' }) : null);
  for (let n = 0; n < 60; n += 1) container.print(`line ${n}`, at(n));
  const { lines } = follow(api);
  await until(() => lines.includes('line 59'));
  // The last line of the first connection was 4.9 s after the begin.
  expect(sinceTimes(server)).toEqual([null, new Date(1_790_000_002_000).toISOString().replace('.000', '')]);
  expect(new Set(lines).size).toBe(60);
});

test('with 300 faults of every kind over 100,000 lines none is missing', { timeout: 120_000 }, async () => {
  const { server, api } = await cluster();
  const random = seeded(7);
  const container = server.logs.start('pod');
  const ends: Fault['kind'][] = ['reset', 'truncate', 'truncate_reset', 'eof', 'garbage'];
  // A stall takes its time: every sixteenth.
  const kinds = [...ends, ...ends, ...ends, 'stall' as const];
  const happened = new Map<string, number>();
  const faults = (): number => [...happened.values()].reduce((sum, count) => sum + count, 0);
  const count = (kind: string): void => {
    happened.set(kind, (happened.get(kind) ?? 0) + 1);
  };
  server.fault = () => {
    const kind = kinds[Math.floor(random() * kinds.length)] ?? 'eof';
    count(kind);
    // At least as far as what is read again.
    return { afterLines: 30 + Math.floor(random() * 600), kind };
  };
  server.intercept = (_asked, response) => {
    const dice = random();
    if (dice < 0.05) sendStatus(response, 500, 'InternalError', 'Get "https://10.0.0.1:10250": EOF');
    else if (dice < 0.08) sendStatus(response, 429, 'TooManyRequests', 'slow down', { 'retry-after': '0' });
    else if (dice < 0.11) response.destroy();
    else return false;
    count('refused');
    return true;
  };

  const seen = new Uint8Array(100_000);
  const order = { last: -1, jumps: 0 };
  let strangers = 0;
  let isOver = false;
  const problems: string[] = [];
  const follower = followLog({
    api,
    pod: 'pod',
    container: 'main',
    onLine: (line) => {
      const text = line.toString('latin1');
      const match = /^(\d+) x*$/.exec(text);
      const n = Number(match?.[1] ?? -1);
      if (match === null || text.length !== 8 + (n % 90)) {
        strangers += 1;
        return;
      }
      // What comes is in order, but for what comes again.
      if (n > order.last + 1) order.jumps += 1;
      order.last = Math.max(order.last, n);
      seen[n] = 1;
    },
    onProblem: (message) => problems.push(message),
    isOver: () => isOver,
    timings: { apartMs: 0, backoffMs: [0, 1, 2], idleMs: 60 },
  });
  for (let n = 0; n < 100_000; n += 1) {
    container.print(`${String(n).padStart(6, '0')} `.padEnd(8 + (n % 90), 'x'), at(n));
    // The writer is ahead, but not by much: most connections are followed live for a while.
    while (n % 100 === 0 && n - order.last > 800) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  container.end();
  await until(() => order.last === 99_999, 60_000);
  server.fault = () => null;
  server.intercept = () => false;
  isOver = true;
  follower.poke();
  expect(await follower.done).toEqual({ kind: 'over' });
  expect(seen.reduce((sum, one) => sum + one, 0)).toBe(100_000);
  expect({ strangers, jumps: order.jumps }).toEqual({ strangers: 0, jumps: 0 });
  expect(faults()).toBeGreaterThanOrEqual(300);
  expect(problems.length).toBeLessThanOrEqual(40);
});

test('not started yet: waits without hurry, and is there at once when it is told', async () => {
  const { server, api } = await cluster();
  server.logs.pending('pod');
  const { follower, lines, problems } = follow(api, { backoffMs: [60_000] });
  await until(() => server.requests.length === 1);
  const container = server.logs.start('pod');
  container.print('begun');
  follower.poke();
  await until(() => lines.length === 1);
  expect(server.requests).toHaveLength(2);
  expect(problems).toEqual([]);
});

test('a pod that has no node: its empty log is not the end', async () => {
  const { server, api } = await cluster();
  server.logs.unscheduled('pod');
  const { lines } = follow(api);
  await until(() => server.requests.length > 3);
  server.logs.start('pod').print('begun');
  await until(() => lines.length > 0);
  expect(lines[0]).toBe('begun');
});

test('a pod that is gone is the end; a kubelet that does not know it yet is not', async () => {
  const { server, api } = await cluster();
  server.objects.put('/api/v1/namespaces/test/pods', 'pod');
  const { follower } = follow(api);
  await until(() => server.requests.filter(({ path }) => path.endsWith('/log')).length > 3);
  server.objects.remove('/api/v1/namespaces/test/pods', 'pod');
  expect(await follower.done).toEqual({ kind: 'gone' });
});

test('ended before it ever started: over, with the reason', async () => {
  const { server, api } = await cluster();
  server.logs.pending('pod', 'ImagePullBackOff');
  const { follower, problems, setOver } = follow(api);
  setOver();
  expect(await follower.done).toEqual({ kind: 'over' });
  expect(problems).toEqual(['container "main" in pod "pod" is waiting to start: ImagePullBackOff']);
});

test('what the kubelet writes into a log is no line of the container', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  const { lines, problems, follower, setOver } = follow(api);
  container.print('{"v":1}');
  container.remark('failed to watch file "/var/log/pods/x/0.log": no space left on device');
  container.remark('rest of a line without its head');
  container.remark('2026-01-01T00:00:00 not a time of this kind');
  container.print('{"v":2}');
  await until(() => lines.length === 2 && problems.length === 3);
  container.collect();
  setOver();
  expect(await follower.done).toEqual({ kind: 'over' });
  expect(lines.every((line) => line.startsWith('{'))).toBe(true);
  expect(problems.at(-1)).toContain('unable to retrieve container logs');
});

test('garbage without end is told of twenty times, and counted', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  const { problems, lines } = follow(api);
  for (let n = 0; n < 1000; n += 1) container.remark(`garbage ${n}`);
  container.print('end');
  await until(() => lines.length === 1);
  expect(problems).toHaveLength(20);
});

test('a line that is too long is left out and told of; the next one is whole', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  const { lines, problems } = follow(api);
  container.print('a'.repeat(64 * 1024));
  container.print('b'.repeat(64 * 1024 + 60));
  container.print('c'.repeat(3_000_000));
  container.print('d');
  await until(() => lines.at(-1) === 'd');
  expect(lines.map((line) => line.length)).toEqual([64 * 1024, 1]);
  expect(problems).toHaveLength(2);
  expect(problems[1]).toContain('a line of 30000');
});

test('times that are equal, go back or have fewer digits: every line comes, in the order of the log', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  const { lines } = follow(api);
  for (const ns of [5_000_000_000n, 5_000_000_000n, 4_900_000_000n, 5_120_000_000n, 5_120_000_001n, 3_000_000_000n]) {
    container.print(String(ns), at(0) + ns);
  }
  await until(() => lines.length === 6);
  expect(lines).toEqual(['5000000000', '5000000000', '4900000000', '5120000000', '5120000001', '3000000000']);
});

test('an open connection that says nothing is opened again; so is one that is old', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  container.print('one', at(0));
  const { lines, problems } = follow(api, { idleMs: 100 });
  await until(() => server.requests.length === 3);
  expect(problems[0]).toContain('silent');
  container.print('two', at(10));
  await until(() => lines.includes('two'));

  const old = follow(api, { lifeMs: [50, 60], backoffMs: [60_000] });
  await until(() => old.lines.length > 6);
  expect(old.problems).toEqual([]);
});

test('no hurry where the log ends again and again with nothing new', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  container.print('last words', at(0));
  container.end();
  const { lines } = follow(api, { backoffMs: [0, 60_000] });
  await until(() => lines.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(server.requests).toHaveLength(2);
});

test('the API server is away, then back: nothing is missing', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  const { lines, problems } = follow(api);
  container.print('before', at(0));
  await until(() => lines.length === 1);
  await server.down();
  container.print('meanwhile', at(10));
  await until(() => problems.length > 2);
  await server.up();
  await until(() => lines.includes('meanwhile'));
  expect([...new Set(lines)]).toEqual(['before', 'meanwhile']);
});

test('300 connections that break leave no sockets, no timers', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  container.print('line', at(0));
  const kinds: Fault['kind'][] = ['reset', 'truncate', 'eof', 'garbage', 'truncate_reset'];
  let n = 0;
  server.fault = () => ({ afterLines: n % 2, kind: kinds[(n += 1) % kinds.length] ?? 'eof' });
  const before = getActiveResourcesInfo().length;
  const { follower } = follow(api, { backoffMs: [0] });
  await until(() => server.requests.length >= 300);
  follower.stop();
  expect(await follower.done).toEqual({ kind: 'stopped' });
  await until(() => server.sockets === 0 && getActiveResourcesInfo().length <= before);
});

test('a follower that is stopped ends at once, whatever it is waiting for', async () => {
  const { server, api } = await cluster();
  server.logs.pending('pod');
  const waiting = follow(api, { backoffMs: [60_000] });
  await until(() => server.requests.length === 1);
  waiting.follower.stop();
  expect(await waiting.follower.done).toEqual({ kind: 'stopped' });
  server.logs.start('pod');
  const reading = follow(api);
  await until(() => server.requests.length === 2);
  reading.follower.stop();
  expect(await reading.follower.done).toEqual({ kind: 'stopped' });
});

test('a log is read whole, again from the start where the connection breaks', async () => {
  const { server, api } = await cluster();
  const container = server.logs.start('pod');
  for (let n = 0; n < 100; n += 1) container.print(`line ${n}`, at(n));
  let tries = 0;
  server.fault = () => ((tries += 1) === 3 ? null : { afterLines: 60, kind: 'truncate_reset' });
  const lines: string[] = [];
  const read = (pod: string, more = {}) =>
    readLog({
      api,
      pod,
      container: 'main',
      onLine: (line) => lines.push(line.toString('utf8')),
      onProblem: () => undefined,
      backoffMs: [0],
      ...more,
    });
  expect(await read('pod')).toBe('whole');
  expect(server.requests).toHaveLength(3);
  expect(lines.slice(-100)).toEqual(Array.from({ length: 100 }, (_, n) => `line ${n}`));

  expect(await read('nobody')).toBe('gone');
  server.logs.pending('early');
  expect(await read('early')).toBe('not_started');
  server.intercept = (_asked, response) => (
    sendStatus(response, 400, 'BadRequest', 'container "main" in pod "pod" is terminated'),
    true
  );
  expect(await read('pod')).toBe('gone');
  server.intercept = () => false;
  server.fault = () => ({ afterLines: 10, kind: 'reset' });
  await expect(read('pod', { tries: 2 })).rejects.toMatchObject({ code: 'cluster_unreachable' });
});
