import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { hasHelm, objectsOf, render, root, type Rendered } from '../support/helm.ts';
import { makeNamespace, realCluster } from '../support/real-cluster.ts';

/** What the chart renders, as a real API server and kube-score judge it. */

const cluster = realCluster();
const isThere = cluster !== null && hasHelm();
const namespace = `chart-manifests-${process.pid}`;
/** So that everything can be where it is to be: a dry run makes no namespace for what comes after it. */
const here = ['--namespace', namespace, '--set', `agents.namespace=${namespace}-agents`];
const files: Record<string, string[]> = {
  default: [],
  local: ['-f', join(root, 'deploy/values/local.yaml')],
  staging: ['-f', join(root, 'deploy/values/staging.yaml')],
  production: ['-f', join(root, 'deploy/values/production.yaml')],
  everything: ['-f', join(root, 'test/chart/everything.yaml')],
};

/** One writer; and where providers and forges are is not ours to say (networkPolicy.serverEgress). */
const meant = [
  'apps/v1/Deployment: Deployment few replicas',
  'apps/v1/Deployment: Deployment update strategy',
  'apps/v1/Deployment: The pod does not have a matching egress NetworkPolicy',
];

describe.runIf(isThere)('what is rendered', () => {
  const env = { ...process.env, KUBECONFIG: cluster?.kubeconfig };
  const removals = isThere ? ['', '-agents'].map((ending) => makeNamespace(cluster, `${namespace}${ending}`)) : [];
  afterAll(() => removals.forEach((remove) => remove()));

  it.each(Object.entries(files))('%s: the API server takes every object, to the last field', (_name, args) => {
    const known = new Set(cluster!.kubectl('api-versions').split('\n'));
    const isKnown = (object: Rendered) => known.has(String(object['apiVersion']));
    const objects = objectsOf(render([...args, ...here]));
    const left = objects.filter((object) => !isKnown(object)).map(({ kind }) => kind);
    if (left.length > 0) process.stderr.write(`SKIPPED: the cluster does not know ${left.join(', ')}\n`);
    const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects.filter(isKnown) });
    const apply = ['apply', '--dry-run=server', '--validate=strict', '-f', '-'];
    const said = execFileSync('kubectl', apply, { env, input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
    expect(said.trimEnd().split('\n')).toHaveLength(objects.length - left.length);
  });

  const hasScore = spawnSync('kube-score', ['version']).status === 0;
  if (!hasScore) process.stderr.write('SKIPPED: there is no kube-score on the PATH\n');
  it.runIf(hasScore).each(Object.entries(files))('%s: kube-score finds nothing but what is meant', (_name, args) => {
    const input = render([...args, ...here]);
    const { stdout } = spawnSync('kube-score', ['score', '--output-format', 'ci', '-'], { input, encoding: 'utf8' });
    const found = stdout.split('\n').flatMap((line) => /^\[(?:CRITICAL|WARNING)\] \S+ (.*)/.exec(line)?.[1] ?? []);
    expect(stdout).toContain('[OK]');
    expect(found.filter((each) => !meant.includes(each))).toEqual([]);
  });
});
