import { expect, onTestFinished, test } from 'vitest';
import { fixedCredentials, startKubeApi, type KubeApi } from '../../../../test/support/kube-api.ts';
import { sendStatus, type Fault } from '../../../../test/support/kube-wire.ts';
import { createPki } from '../../../../test/support/pki.ts';
import { seeded } from '../../../../test/support/seeded.ts';
import { until } from '../../../../test/support/until.ts';
import { createApi } from './api.ts';
import type { Job } from './objects.ts';
import { createTransport } from './transport.ts';
import { watchCollection, type ResourceWatch, type WatchTimings } from './watch.ts';

const pki = createPki();
const JOBS = '/apis/batch/v1/namespaces/test/jobs';

interface Watched {
  server: KubeApi;
  watch: ResourceWatch<Job>;
  /** What a listener knows that only goes by what it is told: uid and version by name. */
  told: Map<string, string>;
  changes: string[];
  problems: string[];
}

async function watched(timings: Partial<WatchTimings>, before?: (server: KubeApi) => void): Promise<Watched> {
  const server = await startKubeApi(pki);
  before?.(server);
  const transport = createTransport({ credentials: fixedCredentials(server, pki), timings: { connectMs: 1000 } });
  const told = new Map<string, string>();
  const changes: string[] = [];
  const problems: string[] = [];
  const watch = watchCollection({
    api: createApi(transport, 'test'),
    collection: 'jobs',
    labelSelector: 'a=b',
    onChange: (type, job) => {
      changes.push(`${type} ${job.metadata.name}`);
      const known = told.get(job.metadata.name);
      // Never an addition of what is known, nor anything else of what is not.
      if ((type === 'added') === (known !== undefined)) problems.push(`${type} out of turn: ${job.metadata.name}`);
      if (type === 'deleted') told.delete(job.metadata.name);
      else told.set(job.metadata.name, identity(job));
    },
    onProblem: (message) => problems.push(message),
    timings: { apartMs: 0, backoffMs: [0, 1, 2, 4], ...timings },
  });
  onTestFinished(async () => {
    await watch.close();
    transport.close();
  });
  return { server, watch, told, changes, problems };
}

const identity = ({ metadata }: { metadata: { uid: string; resourceVersion: string } }): string =>
  `${metadata.uid}@${metadata.resourceVersion}`;

function truth(server: KubeApi): Map<string, string> {
  return new Map(server.objects.list(JOBS).map((job) => [job.metadata.name, identity(job)]));
}
const sorted = (map: Map<string, string>) => [...map].map((entry) => entry.join(' ')).toSorted();
const asks = (server: KubeApi, what: 'list' | 'watch'): number =>
  server.requests.filter(({ query }) => query.has('watch') === (what === 'watch')).length;

test('what is there is told first, in pages, then what changes', async () => {
  const { server, watch, told, changes, problems } = await watched({ pageLimit: 3 }, ({ objects }) => {
    for (let n = 0; n < 10; n += 1) objects.put(JOBS, `job-${n}`);
  });
  await watch.whenSynced();
  expect(watch.list()).toHaveLength(10);
  expect(asks(server, 'list')).toBe(4);

  await until(() => asks(server, 'watch') === 1);
  server.objects.put(JOBS, 'job-1', { status: { active: 1 } });
  server.objects.remove(JOBS, 'job-2');
  server.objects.put(JOBS, 'job-2');
  server.objects.put(JOBS, 'new');
  await until(() => changes.length === 14);
  expect(changes.slice(10)).toEqual(['modified job-1', 'deleted job-2', 'added job-2', 'added new']);
  expect(watch.get('job-1')?.status?.active).toBe(1);
  expect(sorted(told)).toEqual(sorted(truth(server)));
  expect(server.requests.every(({ query }) => query.get('labelSelector') === 'a=b')).toBe(true);
  expect(problems).toEqual([]);
});

test.each([1, 2])(
  'after 2,000 changes over connections that break in every way the picture is the truth (seed %i)',
  async (seed) => {
    const random = seeded(seed);
    const kinds: Fault['kind'][] = ['reset', 'truncate', 'truncate_reset', 'eof', 'garbage', 'expired', 'stall'];
    const { server, watch, told, problems } = await watched(
      // Silence counts after 80 ms: a watch is asked for 30 s, and what the server then does with it is the fault's.
      { timeoutSeconds: [30, 30], silenceMs: -29_920, relistMs: [150, 400], fruitfulMs: 50, pageLimit: 7 },
    );
    server.fault = () => ({
      afterLines: Math.floor(random() * 25),
      kind: kinds[Math.floor(random() * kinds.length)] ?? 'eof',
    });
    server.intercept = (_asked, response) => {
      const dice = random();
      if (dice < 0.04) sendStatus(response, 500, 'InternalError', 'etcdserver: request timed out');
      else if (dice < 0.06) sendStatus(response, 429, 'TooManyRequests', 'slow down', { 'retry-after': '0' });
      else if (dice < 0.08) response.destroy();
      else if (dice < 0.1) sendStatus(response, 410, 'Expired', 'too old');
      else return false;
      return true;
    };
    for (let n = 0; n < 2000; n += 1) {
      const name = `job-${Math.floor(random() * 40)}`;
      if (random() < 0.3) server.objects.remove(JOBS, name);
      else server.objects.put(JOBS, name, { status: { active: n }, text: 'ü€😀'.repeat(Math.floor(random() * 400)) });
      if (random() < 0.005) server.objects.compact();
      // Not faster than connections break.
      const asked = server.requests.length;
      for (let ms = 0; n % 10 === 0 && ms < 20 && server.requests.length === asked; ms += 1) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    server.fault = () => null;
    server.intercept = () => false;
    await until(() => watch.synced && JSON.stringify(sorted(told)) === JSON.stringify(sorted(truth(server))));
    expect(watch.list().map(identity).toSorted()).toEqual([...truth(server).values()].toSorted());
    expect(problems.filter((problem) => problem.includes('out of turn'))).toEqual([]);
    expect(asks(server, 'watch')).toBeGreaterThan(25);
  },
);

test('an API server that is away: the picture stays, says how old it is, and is right again afterwards', async () => {
  const { server, watch, told, problems } = await watched({}, ({ objects }) => objects.put(JOBS, 'one'));
  await watch.whenSynced();
  await server.down();
  await until(() => problems.length > 3);
  const contact = watch.lastContactAt ?? 0;
  expect(watch.list()).toHaveLength(1);
  server.objects.remove(JOBS, 'one');
  server.objects.put(JOBS, 'two');
  server.objects.compact();
  expect(watch.lastContactAt).toBe(contact);
  await server.up();
  await until(() => told.has('two'));
  expect(sorted(told)).toEqual(sorted(truth(server)));
  expect(watch.lastContactAt).toBeGreaterThan(contact);
});

test('a clean end is gone on from, without a list; a quiet watch is not asked for all the time', async () => {
  const { server, watch, told } = await watched({ timeoutSeconds: [1, 1], backoffMs: [0, 100_000] });
  await watch.whenSynced();
  await until(() => asks(server, 'watch') === 3);
  server.objects.put(JOBS, 'late');
  await until(() => told.has('late'));
  expect(asks(server, 'list')).toBe(1);
});

test('a picture is compared with the cluster when it is asked for', async () => {
  const { server, watch } = await watched({});
  await watch.whenSynced();
  await until(() => asks(server, 'watch') === 1);
  watch.resync();
  await until(() => asks(server, 'list') === 2 && asks(server, 'watch') === 2);
  expect(watch.synced).toBe(true);
});

test('a huge object that comes in many pieces is one', async () => {
  const { server, watch, told } = await watched({});
  await watch.whenSynced();
  server.objects.put(JOBS, 'huge', { text: 'ü€😀'.repeat(400_000) });
  await until(() => told.has('huge'));
  // A field that Jobs do not have: only its length matters.
  expect((watch.get('huge') as unknown as { text: string }).text).toBe('ü€😀'.repeat(400_000));
});

test('closed before it ever synced', async () => {
  const { watch, problems } = await watched({}, (server) => {
    server.intercept = () => true;
  });
  const waited = watch.whenSynced();
  await watch.close();
  await expect(waited).rejects.toThrow('was closed');
  expect(problems).toEqual([]);
});
