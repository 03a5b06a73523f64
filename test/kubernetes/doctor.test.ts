import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import type { DoctorReport, Finding } from '../../src/contract/api-system.ts';
import { permissions, type Permission } from '../../src/runtime/kubernetes/client/permissions.ts';
import { nameOf } from '../../src/runtime/kubernetes/preflight.ts';
import { ask, startClusterHouse, tell, type ClusterHouse } from '../support/cluster-house.ts';
import { addressForPods, freePort, makeNamespace, realCluster } from '../support/real-cluster.ts';
import { tempDir } from '../support/temp.ts';
import { until } from '../support/until.ts';

/** What `aideator doctor --kubernetes` finds on a real cluster: whatever is missing is named. */

const cluster = realCluster();
const namespace = `kubetests-doctor-${process.pid}`;
/** Seconds. */
const limits = { image_pull: 5, unschedulable: 5, config: 15, admission: 5, start: 60 };
const needed = permissions.filter((each) => each.namespace === 'attempts');

async function findings({ api }: ClusterHouse, probe = false): Promise<Finding[]> {
  const { status, body } = await api<DoctorReport>('GET', `/api/v1/doctor?probe=${probe}`);
  expect(status).toBe(200);
  return body.findings;
}

const wrong = (found: readonly Finding[]) => found.filter(({ state }) => state !== 'ok');

describe.runIf(cluster !== null)('the doctor on a cluster', () => {
  const remove = cluster === null ? () => undefined : makeNamespace(cluster, namespace);
  afterAll(remove);
  let kubeconfig = '';

  beforeAll(async () => {
    if (cluster === null) return;
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'server', namespace } };
    await tell(cluster, account);
    await tell(cluster, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'server', namespace },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'server' },
      subjects: [{ kind: 'ServiceAccount', name: 'server', namespace }],
    });
    const token = (await ask(cluster, 'create', 'token', 'server', '-n', namespace)).trim();
    const admin = JSON.parse(await ask(cluster, 'config', 'view', '--raw', '--minify', '--flatten', '-o', 'json'));
    kubeconfig = stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'it',
      clusters: [{ name: 'it', cluster: admin.clusters[0].cluster }],
      users: [{ name: 'it', user: { token } }],
      contexts: [{ name: 'it', context: { cluster: 'it', user: 'it', namespace } }],
    });
  });

  async function grant(list: readonly Permission[]): Promise<void> {
    const rules = list.map(({ group, resource, subresource, verb }) => ({
      apiGroups: [group],
      resources: [subresource === undefined ? resource : `${resource}/${subresource}`],
      verbs: [verb],
    }));
    const metadata = { name: 'server', namespace };
    await tell(cluster!, { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata, rules }, ['apply']);
  }

  async function houseOfAccount(): Promise<ClusterHouse> {
    const file = join(tempDir(), 'kubeconfig');
    writeFileSync(file, kubeconfig);
    return startClusterHouse(cluster!, namespace, { kubernetes: { kubeconfig: file } });
  }

  it('has nothing to complain of where all is there, and a pod reaches the door', async () => {
    await grant(needed);
    const house = await houseOfAccount();
    const found = await findings(house, true);
    expect(found.map(({ check, state }) => `${check} ${state}`)).toEqual([
      'cluster ok',
      'rights ok',
      'job ok',
      'quota ok',
      'probe ok',
    ]);
    const jobs = async () => JSON.parse(await ask(cluster!, 'get', 'jobs,pods', '-n', namespace, '-o', 'json')).items;
    await until(async () => (await jobs()).length === 0);
  });

  it('names each right that is missing, and no other', async () => {
    const house = await houseOfAccount();
    for (const missing of needed) {
      await grant(needed.filter((each) => each !== missing));
      const name = `may not ${nameOf(missing)}: `;
      // Roles reach the API server's authorizer a moment later.
      let found: Finding[] = [];
      await until(async () => {
        found = (await findings(house)).filter(({ check, state }) => check === 'rights' && state === 'fail');
        return found.length === 1 && found[0]?.text.startsWith(name) === true;
      }, 10_000).catch(() => undefined);
      expect(found.map(({ text }) => text)).toEqual([expect.stringContaining(name)]);
    }
  });

  it('names the quota that leaves no room', async () => {
    const own = `${namespace}-quota`;
    onTestFinished(makeNamespace(cluster!, own));
    const hard = { 'limits.memory': '200Mi', pods: '20' };
    const quota = {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'small', namespace: own },
      spec: { hard },
    };
    await tell(cluster!, quota);
    const status = ['get', 'resourcequota', 'small', '-n', own, '-o', 'jsonpath={.status.hard}'];
    await until(async () => (await ask(cluster!, ...status)) !== '');
    const house = await startClusterHouse(cluster!, own, { kubernetes: { start_timeouts: limits } });
    const found = wrong(await findings(house));
    expect(found).toMatchObject([
      {
        check: 'quota',
        state: 'fail',
        text: expect.stringMatching(
          /ResourceQuota small: limits\.memory has too little left of 200Mi; an attempt needs/,
        ),
      },
    ]);
    const probed = (await findings(house, true)).at(-1);
    expect(probed).toMatchObject({
      check: 'probe',
      state: 'fail',
      text: expect.stringContaining('exceeded quota: small'),
    });
  });

  it('names what only a pod finds: an image that is missing, a door that is shut', async () => {
    const missing = cluster!.agentImage.replace(/:[^:]*$/, ':there-is-none');
    const house = await startClusterHouse(cluster!, namespace, {
      kubernetes: { image: missing, start_timeouts: limits },
    });
    const shut = `http://${addressForPods(cluster!)}:${await freePort()}`;
    const other = await startClusterHouse(cluster!, namespace, { settings: { door_url: shut } });
    // clusterSettings takes a door of its own where none is given.
    const found = await Promise.all([findings(house, true), findings(other, true)]);
    const [image, door] = found.map((each) => wrong(each));
    expect(image).toMatchObject([
      { check: 'probe', text: expect.stringMatching(/there-is-none.*(ErrImagePull|ImagePullBackOff)/s) },
    ]);
    expect(door).toMatchObject([
      {
        check: 'probe',
        text: expect.stringMatching(/did not reach http:\/\/\S+: .*exit code 4: connect ECONNREFUSED [\d.:]+\.$/),
        hint: expect.stringContaining('door_url'),
      },
    ]);
    expect(door?.[0]?.text).toContain(shut);
  });
});
