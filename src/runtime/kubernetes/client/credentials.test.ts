import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { tempDir } from '../../../../test/support/temp.ts';
import type { AppError } from '../../../errors.ts';
import type { CredentialSources } from './credentials.ts';
import { findCredentials } from './find-credentials.ts';

const nothing: CredentialSources = {
  kubeconfig: null,
  context: null,
  serviceHost: undefined,
  servicePort: undefined,
  kubeconfigList: undefined,
  home: undefined,
  programEnv: { PATH: process.env['PATH'] },
};

const refusal = (sources: Partial<CredentialSources>): Promise<AppError> =>
  findCredentials({ ...nothing, ...sources }).then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as AppError,
  );

interface Parts {
  current?: string | null;
  cluster?: object;
  user?: object;
  context?: object;
  name?: string;
}

function kubeconfig(folder: string, parts: Parts = {}, file = 'config'): string {
  const name = parts.name ?? 'here';
  const path = join(folder, file);
  const document = {
    apiVersion: 'v1',
    kind: 'Config',
    ...(parts.current === null ? {} : { 'current-context': parts.current ?? name }),
    clusters: [{ name: `${name}-cluster`, cluster: { server: `https://${name}.test:6443`, ...parts.cluster } }],
    users: [{ name: `${name}-user`, user: parts.user ?? { token: `${name}-token` } }],
    contexts: [{ name, context: { cluster: `${name}-cluster`, user: `${name}-user`, ...parts.context } }],
  };
  writeFileSync(path, stringify(document));
  return path;
}

/** A program that prints what is in `answer.json`, and notes how it was called. */
function program(folder: string): string {
  const path = join(folder, 'plugin');
  writeFileSync(
    path,
    `#!/bin/sh
echo "$* $EXTRA $KUBERNETES_EXEC_INFO" >> ${folder}/calls
if [ -f ${folder}/fails ]; then echo "no login: run plugin login" >&2; exit 3; fi
cat ${folder}/answer.json
`,
  );
  chmodSync(path, 0o755);
  return path;
}
const credential = (status: object, apiVersion = 'client.authentication.k8s.io/v1') =>
  JSON.stringify({ apiVersion, kind: 'ExecCredential', status });
const plugin = (more = {}) => ({
  exec: { apiVersion: 'client.authentication.k8s.io/v1', command: './plugin', ...more },
});

test('which credentials are taken: named file, then pod, then KUBECONFIG, then home', async () => {
  const folder = tempDir();
  const account = join(folder, 'account');
  mkdirSync(account);
  writeFileSync(join(account, 'token'), 'pod-token\n');
  writeFileSync(join(account, 'namespace'), 'pod-namespace\n');
  const home = join(folder, 'home');
  mkdirSync(join(home, '.kube'), { recursive: true });
  kubeconfig(join(home, '.kube'), { name: 'home' });
  const listed = kubeconfig(folder, { name: 'listed' }, 'listed');
  const named = kubeconfig(folder, { name: 'named', context: { namespace: 'team' } }, 'named');
  const pod = { serviceHost: 'fd00::1', servicePort: '443', serviceAccount: account };
  const all = { ...nothing, ...pod, home, kubeconfigList: `${join(folder, 'not-there')}:${listed}` };

  const first = await findCredentials({ ...all, kubeconfig: named });
  expect([first.server.href, first.namespace]).toEqual(['https://named.test:6443/', 'team']);
  const second = await findCredentials(all);
  expect([second.server.href, second.namespace]).toEqual(['https://[fd00::1]/', 'pod-namespace']);
  expect((await second.access()).authorization).toBe('Bearer pod-token');
  // A context can only be one of a kubeconfig.
  expect((await findCredentials({ ...all, context: 'listed' })).server.hostname).toBe('listed.test');
  expect((await findCredentials({ ...all, serviceHost: undefined })).server.hostname).toBe('listed.test');
  expect((await findCredentials({ ...nothing, home })).source).toBe(
    `context “home” of ${join(home, '.kube', 'config')}`,
  );
  // A pod without a token, but with a kubeconfig.
  const bare = { ...pod, serviceAccount: join(folder, 'none') };
  expect((await findCredentials({ ...nothing, ...bare, home })).server.hostname).toBe('home.test');
  expect((await refusal(bare)).hint).toContain('automountServiceAccountToken');
  expect(await refusal({})).toMatchObject({ code: 'invalid_config', message: 'No Kubernetes cluster is configured' });
});

test('several files are one: the first that names a thing has it, paths are of their own file', async () => {
  const folder = tempDir();
  mkdirSync(join(folder, 'b'));
  writeFileSync(join(folder, 'b', 'ca.pem'), 'the authority');
  const a = kubeconfig(folder, { name: 'x', current: null, user: { token: 'from-a' } }, 'a');
  kubeconfig(join(folder, 'b'), { name: 'x', user: { token: 'from-b' }, cluster: { server: 'https://b.test' } });
  const other = { name: 'y', cluster: { 'certificate-authority': 'ca.pem' } };
  const c = kubeconfig(join(folder, 'b'), other, 'c');
  const sources = { ...nothing, kubeconfigList: `${a}:${join(folder, 'b', 'config')}:${c}` };
  const found = await findCredentials(sources);
  expect(found.server.hostname).toBe('x.test');
  expect((await found.access()).authorization).toBe('Bearer from-a');
  expect((await (await findCredentials({ ...sources, context: 'y' })).access()).tls.ca).toBe('the authority');
});

test.each([
  ['a token', { token: 't' }, { authorization: 'Bearer t', tls: { rejectUnauthorized: true } }],
  ['a token file', { tokenFile: 'token' }, { authorization: 'Bearer from-file', tls: { rejectUnauthorized: true } }],
  ['a password', { username: 'u', password: 'p' }, { authorization: 'Basic dTpw', tls: { rejectUnauthorized: true } }],
  [
    'a certificate',
    { 'client-certificate-data': 'Y2VydA==', 'client-key': 'key.pem' },
    { authorization: null, tls: { rejectUnauthorized: true, cert: 'cert', key: 'the key' } },
  ],
  ['nothing', {}, { authorization: null, tls: { rejectUnauthorized: true } }],
])('a user with %s', async (_name, user, access) => {
  const folder = tempDir();
  writeFileSync(join(folder, 'token'), 'from-file\n');
  writeFileSync(join(folder, 'key.pem'), 'the key');
  const found = await findCredentials({ ...nothing, kubeconfig: kubeconfig(folder, { user }) });
  expect(await found.access()).toEqual(access);
});

test('a cluster with a name of its own, unverified, below a path', async () => {
  const cluster = {
    server: 'https://proxy.test/k8s/clusters/c-1',
    'insecure-skip-tls-verify': true,
    'tls-server-name': 'api.internal',
    'certificate-authority-data': 'Y2E=',
  };
  const found = await findCredentials({ ...nothing, kubeconfig: kubeconfig(tempDir(), { cluster }) });
  expect(found.server.href).toBe('https://proxy.test/k8s/clusters/c-1');
  expect((await found.access()).tls).toEqual({ rejectUnauthorized: false, servername: 'api.internal', ca: 'ca' });
});

test.each([
  ['proxy-url', { cluster: { 'proxy-url': 'socks5://localhost:1080' } }, 'proxy-url is not supported'],
  ['auth-provider', { user: { 'auth-provider': { name: 'gcp' } } }, 'auth-provider is not supported'],
  ['impersonation', { user: { token: 't', as: 'root' } }, 'impersonation'],
  ['another context', { current: 'there' }, 'There is no context “there”'],
  ['no context', { current: null }, 'no current context'],
  ['no such user', { context: { user: 'nobody' } }, 'There is no user “nobody”'],
  ['no address', { cluster: { server: 'localhost:6443' } }, 'no http(s) address'],
  ['no file', { user: { tokenFile: 'gone' } }, 'tokenFile of the kubeconfig cannot be read'],
  ['a broken shape', { cluster: { server: 5 } }, 'clusters.0.cluster.server'],
  ['an old plugin', { user: plugin({ apiVersion: 'client.authentication.k8s.io/v1alpha1' }) }, 'v1alpha1'],
  ['a plugin that asks', { user: plugin({ interactiveMode: 'Always' }) }, 'wants to ask a person'],
])('a kubeconfig with %s is refused with what to do', async (_name, parts, message) => {
  const error = await refusal({ kubeconfig: kubeconfig(tempDir(), parts) });
  expect(error.code).toBe('invalid_config');
  expect(error.message).toContain(message);
});

test('a file that is none is refused without showing what is in it', async () => {
  const path = join(tempDir(), 'config');
  writeFileSync(path, 'users:\n- name: x\n  user: {token: "hunter2\n');
  const error = await refusal({ kubeconfig: path });
  expect(error.message).toMatch(/is not YAML \(line \d+\)/);
  expect(JSON.stringify([error.message, error.hint, error.details])).not.toContain('hunter2');
  expect((await refusal({ kubeconfig: `${path}-not-there` })).message).toContain('cannot be read');
  expect((await refusal({ kubeconfigList: `${path}1:${path}2` })).message).toContain('No kubeconfig was found');
});

test('files are read again after a minute, and at once when they are refused', async () => {
  const folder = tempDir();
  const token = join(folder, 'token');
  const ca = join(folder, 'ca');
  writeFileSync(token, 'one');
  writeFileSync(ca, 'authority 1');
  let time = 0;
  const path = kubeconfig(folder, { user: { tokenFile: 'token' }, cluster: { 'certificate-authority': 'ca' } });
  const found = await findCredentials({ ...nothing, kubeconfig: path }, () => time);
  const first = await found.access();
  writeFileSync(token, 'two');
  time = 59_000;
  expect(await found.access()).toBe(first);
  time = 60_000;
  const second = await found.access();
  expect(second.authorization).toBe('Bearer two');
  // Connections go by it: the same certificates are the same object.
  expect(second.tls).toBe(first.tls);

  expect(await found.renew(second)).toBe(false);
  writeFileSync(token, 'three');
  expect(await found.renew(second)).toBe(true);
  const third = await found.access();
  expect(third.authorization).toBe('Bearer three');
  // Somebody else was refused with what is old by now.
  expect(await found.renew(second)).toBe(true);
  expect(await found.access()).toBe(third);

  writeFileSync(ca, 'authority 2');
  time = 120_000;
  expect((await found.access()).tls.ca).toBe('authority 2');
});

test('a program is asked for a token once, and again when it expires or is refused', async () => {
  const folder = tempDir();
  program(folder);
  let time = Date.parse('2026-01-01T00:00:00Z');
  const answer = (status: object) => writeFileSync(join(folder, 'answer.json'), credential(status));
  answer({ token: 'one', expirationTimestamp: '2026-01-01T01:00:00Z' });
  const user = plugin({
    args: ['get token', '$(id)'],
    env: [{ name: 'EXTRA', value: 'extra' }],
    provideClusterInfo: true,
  });
  const cluster = { 'certificate-authority-data': 'Y2E=' };
  const path = kubeconfig(folder, { user, cluster });
  const found = await findCredentials({ ...nothing, kubeconfig: path }, () => time);
  const calls = () => readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n');
  expect((await found.access()).authorization).toBe('Bearer one');
  expect(calls()).toHaveLength(1);
  expect(calls()[0]).toContain('get token $(id) extra {"apiVersion":"client.authentication.k8s.io/v1"');
  expect(calls()[0]).toContain('"cluster":{"server":"https://here.test:6443","certificate-authority-data":"Y2E="}');

  time += 58 * 60_000;
  await found.access();
  expect(calls()).toHaveLength(1);
  answer({ token: 'two', expirationTimestamp: '2026-01-01T02:00:00Z' });
  time += 2 * 60_000;
  const second = await found.access();
  expect(second.authorization).toBe('Bearer two');
  // Refused just after it was made: the program is not run for every request.
  expect(await found.renew(second)).toBe(false);
  expect(calls()).toHaveLength(2);
  time += 10_000;
  answer({ clientCertificateData: 'cert', clientKeyData: 'key' });
  expect(await found.renew(second)).toBe(true);
  expect(await found.access()).toEqual({
    authorization: null,
    tls: { ca: 'ca', cert: 'cert', key: 'key', rejectUnauthorized: true },
  });
});

test('a program that fails is told of in its own words', async () => {
  const folder = tempDir();
  program(folder);
  const path = kubeconfig(folder, { user: plugin() });
  const fails = (content: string) => {
    writeFileSync(join(folder, 'answer.json'), content);
    return refusal({ kubeconfig: path });
  };
  expect((await fails('token=1')).message).toContain('printed no JSON');
  expect((await fails('{}')).message).toContain('something else');
  expect((await fails(credential({}))).message).toContain('no credential');
  expect((await fails(credential({ token: 't' }, 'client.authentication.k8s.io/v1beta1'))).message).toContain(
    'v1beta1',
  );
  writeFileSync(join(folder, 'fails'), '');
  const failed = await fails('');
  expect(failed.message).toBe('The credential program “./plugin” failed (exit 3): no login: run plugin login');
  const missing = kubeconfig(folder, { user: plugin({ command: 'not-there-at-all', installHint: 'get it' }) });
  expect(await refusal({ kubeconfig: missing })).toMatchObject({ hint: 'get it' });
  expect(existsSync(join(folder, 'calls'))).toBe(true);
});
