import { writeFileSync } from 'node:fs';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { getActiveResourcesInfo } from 'node:process';
import { expect, onTestFinished, test } from 'vitest';
import { fixedCredentials, startKubeApi } from '../../../../test/support/kube-api.ts';
import { sendJson, sendStatus } from '../../../../test/support/kube-wire.ts';
import { createPki } from '../../../../test/support/pki.ts';
import { tempDir } from '../../../../test/support/temp.ts';
import { until } from '../../../../test/support/until.ts';
import type { AppError } from '../../../errors.ts';
import { ApiError } from './api-error.ts';
import { createApi } from './api.ts';
import { connectCluster } from './client.ts';
import type { Credentials } from './credentials.ts';
import { permissions, reviewPermissions } from './permissions.ts';
import { createTransport, type TransportTimings } from './transport.ts';

const pki = createPki();

function transportTo(credentials: Credentials, timings: Partial<TransportTimings> = {}) {
  const transport = createTransport({ credentials, timings: { backoffMs: [1, 2, 4], budgetMs: 5000, ...timings } });
  onTestFinished(() => transport.close());
  return { transport, api: createApi(transport, 'test') };
}
const caught = (promise: Promise<unknown>): Promise<AppError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as AppError,
  );
const job = (name: string, more = {}) => ({ apiVersion: 'batch/v1', kind: 'Job', metadata: { name }, ...more });

test('the calls, each by its path, query and body', async () => {
  const server = await startKubeApi(pki);
  const { api } = transportTo(fixedCredentials(server, pki, 'secret'));
  const made = await api.jobs.create(job('one', { spec: { suspend: true } }));
  expect(made.metadata.uid).toMatch(/-/);
  expect((await api.jobs.create(job('dry'), { dryRun: true })).metadata.name).toBe('dry');
  expect((await api.jobs.get('one')).spec.suspend).toBe(true);
  expect((await api.jobs.list('a=b')).map(({ metadata }) => metadata.name)).toEqual(['one']);
  await api.jobs.patch('one', { spec: { ttlSecondsAfterFinished: 5 } });
  const wrong = await caught(api.jobs.delete('one', { uid: 'another' }));
  expect(wrong).toMatchObject({ httpStatus: 409, reason: 'Conflict' });
  await api.jobs.delete('one', { propagationPolicy: 'Foreground', uid: made.metadata.uid, gracePeriodSeconds: 7 });
  await api.secrets.create({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } });
  await api.secrets.delete('s');
  expect(await api.events({ uid: 'u' })).toEqual([]);
  expect(await api.pods.list('a=b')).toEqual([]);

  const jobs = '/apis/batch/v1/namespaces/test/jobs';
  expect(server.requests.map(({ method, path, query }) => `${method} ${path}?${query.toString()}`)).toEqual([
    `POST ${jobs}?fieldManager=aideator&fieldValidation=Strict`,
    `POST ${jobs}?fieldManager=aideator&fieldValidation=Strict&dryRun=All`,
    `GET ${jobs}/one?`,
    `GET ${jobs}?labelSelector=a%3Db&limit=500`,
    `PATCH ${jobs}/one?fieldManager=aideator`,
    `DELETE ${jobs}/one?`,
    `DELETE ${jobs}/one?`,
    'POST /api/v1/namespaces/test/secrets?fieldManager=aideator&fieldValidation=Strict',
    'DELETE /api/v1/namespaces/test/secrets/s?',
    'GET /api/v1/namespaces/test/events?fieldSelector=involvedObject.uid%3Du&limit=500',
    'GET /api/v1/namespaces/test/pods?labelSelector=a%3Db&limit=500',
  ]);
  expect(JSON.parse(server.requests[6]?.body ?? '')).toMatchObject({
    propagationPolicy: 'Foreground',
    gracePeriodSeconds: 7,
    preconditions: { uid: made.metadata.uid },
  });
  expect(new Set(server.requests.map(({ authorization }) => authorization))).toEqual(new Set(['Bearer secret']));
  // One after the other: one connection.
  expect(server.handshakes).toBe(1);
});

test('a refusal is Kubernetes’ own words, whole', async () => {
  const server = await startKubeApi(pki);
  const { api } = transportTo(fixedCredentials(server, pki));
  const message = `jobs.batch is forbidden: User "x" cannot list resource "jobs" ${'…'.repeat(3000)}`;
  server.intercept = (_asked, response) => (sendStatus(response, 403, 'Forbidden', message), true);
  const forbidden = await caught(api.jobs.list(''));
  expect(forbidden).toBeInstanceOf(ApiError);
  expect(forbidden).toMatchObject({ code: 'cluster_refused', httpStatus: 403, reason: 'Forbidden', message });
  expect(forbidden.hint).toContain('doctor --kubernetes');
  expect(server.requests).toHaveLength(1);

  server.intercept = (_asked, response) => (response.writeHead(404).end('<html>no such page</html>'), true);
  expect(await caught(api.jobs.list(''))).toMatchObject({ httpStatus: 404, message: '<html>no such page</html>' });
  server.intercept = (_asked, response) => (response.end('<html>please log in</html>'), true);
  expect((await caught(api.jobs.list(''))).message).toContain('no Kubernetes API');
  server.intercept = (_asked, response) => (response.writeHead(400).end('x'.repeat(10_000_000)), true);
  expect((await caught(api.jobs.list(''))).message.length).toBeLessThan(3000);
});

test('tried again while it is busy, broken or cut off; a creation as well', async () => {
  const server = await startKubeApi(pki);
  const { api } = transportTo(fixedCredentials(server, pki));
  let n = 0;
  server.intercept = (asked, response) => {
    n += 1;
    if (n === 1) sendStatus(response, 500, 'InternalError', 'etcdserver: leader changed');
    else if (n === 2) sendStatus(response, 429, 'TooManyRequests', 'slow down', { 'retry-after': '0' });
    else if (n === 3) response.destroy();
    else if (n === 4) {
      // Half an answer.
      response.writeHead(200, { 'content-length': '100' });
      response.write('{"kind":', () => response.destroy());
    } else if (n === 5) {
      // Done, and the answer lost.
      server.objects.put(asked.path, 'one');
      response.destroy();
    } else return false;
    return true;
  };
  expect(await caught(api.jobs.create(job('one')))).toMatchObject({ httpStatus: 409, reason: 'AlreadyExists' });
  expect(n).toBe(6);
});

test('Retry-After is waited for, and the budget is kept', async () => {
  const server = await startKubeApi(pki);
  const { api } = transportTo(fixedCredentials(server, pki));
  const times: number[] = [];
  server.intercept = (_asked, response) => {
    times.push(performance.now());
    if (times.length > 1) return false;
    sendStatus(response, 429, 'TooManyRequests', 'slow down', { 'retry-after': '1' });
    return true;
  };
  await api.jobs.list('');
  expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(990);

  server.intercept = (_asked, response) => (
    sendStatus(response, 503, 'ServiceUnavailable', 'not now', { 'retry-after': '30' }),
    true
  );
  const began = performance.now();
  expect(await caught(api.jobs.list(''))).toMatchObject({ code: 'cluster_unreachable', httpStatus: 503 });
  expect(performance.now() - began).toBeLessThan(20_000);
});

test('away and back within the budget', async () => {
  const server = await startKubeApi(pki);
  const { api } = transportTo(fixedCredentials(server, pki), { budgetMs: 20_000, backoffMs: [20] });
  await api.jobs.list('');
  await server.down();
  const waited = api.jobs.list('');
  await new Promise((resolve) => setTimeout(resolve, 100));
  await server.up();
  expect(await waited).toEqual([]);
  await server.down();
  const refused = await caught(api.jobs.list('', { budgetMs: 0 }));
  expect(refused).toMatchObject({ code: 'cluster_unreachable', details: { reason: 'ECONNREFUSED' } });
  expect(refused.message).toContain(server.url);
  expect(refused.hint).toContain('from the test');
});

test('a server that is not the one we were told of is not talked to, and why is said', async () => {
  const server = await startKubeApi(pki);
  const other = createPki();
  const wrong = fixedCredentials(server, other);
  const { api } = transportTo(wrong);
  const untrusted = await caught(api.jobs.list(''));
  expect(untrusted.code).toBe('cluster_unreachable');
  expect(untrusted.message).toContain('is not trusted');
  expect(untrusted.hint).toContain('certificate-authority');
  expect(server.requests).toHaveLength(0);

  const named = { ca: pki.ca, rejectUnauthorized: true, servername: 'api.test' };
  const misnamed = { ...named, servername: 'other.test' };
  const as = (tls: typeof named) => ({ ...wrong, access: async () => ({ tls, authorization: null }) });
  expect(await transportTo(as(named)).api.jobs.list('')).toEqual([]);
  expect((await caught(transportTo(as(misnamed)).api.jobs.list(''))).hint).toContain('tls-server-name');
});

test('a port that accepts and says nothing; one that never answers', async () => {
  const silent = createTcpServer(() => undefined).listen(0, '127.0.0.1');
  onTestFinished(() => void silent.close());
  await until(() => silent.listening);
  const server = await startKubeApi(pki);
  const credentials = fixedCredentials(server, pki);
  const mute = { ...credentials, server: new URL(`https://127.0.0.1:${(silent.address() as AddressInfo).port}`) };
  const began = performance.now();
  const first = await caught(transportTo(mute, { connectMs: 50 }).api.jobs.list('', { budgetMs: 0 }));
  expect(first.message).toContain('did not accept a connection in time');
  server.intercept = () => true;
  const second = await caught(transportTo(credentials, { totalMs: 50 }).api.jobs.list('', { budgetMs: 0 }));
  expect(second.message).toContain('did not answer in time');
  expect(performance.now() - began).toBeLessThan(9000);
});

test('many at once share few connections; an abort is at once; nothing is left', async () => {
  const server = await startKubeApi(pki);
  const before = getActiveResourcesInfo().length;
  const { api, transport } = transportTo(fixedCredentials(server, pki));
  await Promise.all(Array.from({ length: 200 }, () => api.jobs.list('')));
  expect(server.handshakes).toBeLessThanOrEqual(8);
  await Promise.all(Array.from({ length: 200 }, () => api.jobs.list('')));
  expect(server.handshakes).toBeLessThanOrEqual(8);

  server.intercept = () => true;
  const controller = new AbortController();
  const hanging = Array.from({ length: 20 }, () => caught(api.jobs.list('', { signal: controller.signal })));
  await until(() => server.requests.length === 408);
  controller.abort(new Error('enough'));
  expect((await Promise.all(hanging)).every(({ message }) => message === 'enough')).toBe(true);

  const closed = Array.from({ length: 20 }, () => caught(api.jobs.list('')));
  transport.close();
  expect(new Set((await Promise.all(closed)).map(({ code }) => code))).toEqual(new Set(['shutting_down']));
  expect(await caught(api.jobs.list(''))).toMatchObject({ code: 'shutting_down' });
  await until(() => server.sockets === 0 && getActiveResourcesInfo().length <= before);
});

test('a pod’s token that is renewed is used at once when the old is refused, and the authority’s certificate too', async () => {
  const serverSide = { ...pki };
  const server = await startKubeApi(serverSide);
  const folder = tempDir();
  const write = (name: string, content: string): void => writeFileSync(join(folder, name), content);
  write('token', 'first\n');
  write('namespace', 'team\n');
  write('ca.crt', pki.ca);
  server.tokens = new Set(['first']);
  const { hostname, port } = new URL(server.url);
  const client = await connectCluster({
    namespace: null,
    kubeconfig: null,
    context: null,
    serviceHost: hostname,
    servicePort: port,
    serviceAccount: folder,
    kubeconfigList: undefined,
    home: undefined,
    programEnv: {},
    timings: { backoffMs: [1] },
  });
  onTestFinished(() => client.close());
  expect(client.namespace).toBe('team');
  expect(client.source).toBe('the pod’s service account');
  await client.api.jobs.list('');

  write('token', 'second\n');
  server.tokens = new Set(['second']);
  await Promise.all(Array.from({ length: 10 }, () => client.api.jobs.list('')));
  expect(server.requests.at(-1)?.authorization).toBe('Bearer second');

  server.tokens = new Set(['third']);
  const refused = await caught(client.api.jobs.list(''));
  expect(refused).toMatchObject({ code: 'cluster_refused', httpStatus: 401 });
  expect(server.requests.length).toBeLessThan(25);

  // A stream as well: it begins with a request like any other.
  write('token', 'third');
  let bytes = 0;
  const controller = new AbortController();
  const streamed = client.api.changes(
    'jobs',
    { labelSelector: '', resourceVersion: '100', timeoutSeconds: 60 },
    {
      idleMs: 5000,
      signal: controller.signal,
      onData: (chunk) => {
        bytes += chunk.length;
      },
    },
  );
  await until(() => server.requests.at(-1)?.authorization === 'Bearer third');
  server.objects.put('/apis/batch/v1/namespaces/team/jobs', 'one');
  await until(() => bytes > 0);
  controller.abort();
  expect(await streamed).toEqual({ kind: 'aborted' });

  const renewed = createPki();
  await server.down();
  serverSide.server = renewed.server;
  await server.up();
  expect((await caught(client.api.jobs.list(''))).message).toContain('is not trusted');
  write('ca.crt', renewed.ca);
  expect(await client.api.jobs.list('')).toHaveLength(1);
});

test('each right is asked for by name', async () => {
  const server = await startKubeApi(pki);
  const { api } = transportTo(fixedCredentials(server, pki));
  server.intercept = (asked, response) => {
    const { resourceAttributes } = (JSON.parse(asked.body) as { spec: { resourceAttributes: Record<string, string> } })
      .spec;
    const allowed = resourceAttributes['subresource'] !== 'log';
    sendJson(response, 201, { status: { allowed, ...(allowed ? {} : { reason: 'no RBAC policy matched' }) } });
    return true;
  };
  const reviews = await reviewPermissions(api);
  expect(reviews).toHaveLength(permissions.filter(({ namespace }) => namespace === 'attempts').length);
  expect(reviews.filter(({ allowed }) => !allowed)).toEqual([
    {
      permission: expect.objectContaining({ verb: 'get', resource: 'pods', subresource: 'log' }),
      allowed: false,
      reason: 'no RBAC policy matched',
    },
  ]);
});
