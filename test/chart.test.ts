import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { readmeText, schemaText } from '../scripts/chart-files.ts';
import { configSchema } from '../src/config.ts';
import { agentLabels } from '../src/contract/pod.ts';
import { permissions } from '../src/runtime/kubernetes/client/permissions.ts';
import { chart, hasHelm, objectsOf, render, type Rendered, root } from './support/helm.ts';

const files = {
  default: [],
  local: ['-f', join(root, 'deploy/values/local.yaml')],
  staging: ['-f', join(root, 'deploy/values/staging.yaml')],
  production: ['-f', join(root, 'deploy/values/production.yaml')],
  everything: ['-f', join(import.meta.dirname, 'chart/everything.yaml')],
};
const read = (path: string) => readFileSync(join(chart, path), 'utf8');

test('package, images and chart have one version', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  expect(parse(read('Chart.yaml'))).toMatchObject({ version, appVersion: version });
});

test('schema and table of values are those of values.yaml (else: npm run chart:readme)', () => {
  const yaml = read('values.yaml');
  expect(read('values.schema.json')).toBe(schemaText(yaml));
  expect(read('README.md')).toBe(readmeText(read('README.md'), yaml));
});

describe.skipIf(!hasHelm())('rendered', () => {
  test('helm lint finds nothing', () => {
    expect(() => execFileSync('helm', ['lint', '--strict', chart], { stdio: 'pipe' })).not.toThrow();
  });

  test.each(Object.entries(files))('%s: twice the same, and as it was', async (name, args) => {
    const text = render(args);
    expect(render(args)).toBe(text);
    const golden = join(import.meta.dirname, `chart/golden/${name}.yaml`);
    await expect(
      objectsOf(text)
        .map((object) => stringify(object))
        .join('---\n'),
    ).toMatchFileSnapshot(golden);
  });

  test.each(Object.entries(files))('%s: the server takes the settings', (_name, args) => {
    const settings = configSchema.parse(parse(configOf(objectsOf(render(args)))));
    expect(settings).toMatchObject({ host: '0.0.0.0', port: 8000, data_dir: '/data', runtime: 'kubernetes' });
    expect(settings.admin_key_file === null).toBe(settings.kubernetes.admin_key_secret !== null);
  });

  test.each(Object.entries(files))('%s: every container is limited and restricted', (_name, args) => {
    const pods = objectsOf(render(args)).flatMap((object) => podsIn(object));
    expect(pods.length).toBeGreaterThan(1);
    for (const pod of pods) {
      expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
      expect(pod).toMatchObject({ enableServiceLinks: false });
      for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
        const some: unknown = expect.stringMatching(/^\d/);
        const amounts = { cpu: some, memory: some, 'ephemeral-storage': some };
        expect(container.resources).toEqual({ requests: amounts, limits: amounts });
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
      }
    }
  });

  test('keys are in Secrets alone', () => {
    const withKey = objectsOf(render(files.everything)).filter((object) => {
      const decoded = Object.values((object['data'] ?? {}) as Record<string, string>).map((text) =>
        atobOrNothing(text),
      );
      return `${JSON.stringify(object)}${decoded.join('\n')}`.includes('canary');
    });
    expect(withKey.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([
      'Secret everything-api-key',
      'Secret everything-git',
      'Secret everything-keys',
    ]);
  });

  test('no namespace but the release’s and that of attempts', () => {
    for (const { kind, metadata } of objectsOf(render(files.everything))) {
      if (kind !== 'Namespace')
        expect(['somewhere', 'attempts'], `${kind} ${metadata.name}`).toContain(metadata.namespace);
    }
    expect(render([])).not.toMatch(/namespace: (aideator|default)\b/);
  });

  test('the rights are the code’s own list, and nothing else', () => {
    expect(rightsIn(objectsOf(render(files.default)))).toEqual(
      permissions
        .map(({ namespace, verb, group, resource, subresource, only }) => {
          const what = `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}.${group}`;
          return `${namespace === 'server' ? 'demo-aideator-server' : 'demo-aideator-attempts'}: ${what}${only === undefined ? '' : ' demo-aideator-admin-key'}`;
        })
        .toSorted(),
    );
    expect(render(files.everything)).not.toMatch(/kind: Cluster/);
  });

  test('network policies let pods of attempts to the attempt door and to DNS only', () => {
    const objects = objectsOf(render([]));
    const policy = (name: string) =>
      objects.find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === name);
    // Rendered YAML has no type; what is read of it is said here.
    const attempts = policy('demo-aideator-attempts') as unknown as {
      spec: { podSelector: { matchLabels: object }; ingress: unknown[]; egress: { ports: { port: number }[] }[] };
    };
    expect(agentLabels).toMatchObject(attempts.spec.podSelector.matchLabels);
    expect(attempts.spec.ingress).toEqual([]);
    expect(attempts.spec.egress.flatMap(({ ports }) => ports.map(({ port }) => port))).toEqual([53, 53, 8001]);
    expect(JSON.stringify(policy('demo-aideator'))).toContain(
      JSON.stringify({
        key: 'app.kubernetes.io/component',
        operator: 'NotIn',
        values: [agentLabels['app.kubernetes.io/component']],
      }),
    );
  });

  test.each([
    ['server.maxParalel=3', 'maxParalel'],
    ['server.image.tagg=1', 'tagg'],
    ['agents.resources.limits.memroy=1Gi', 'memroy'],
    ['agents.resources.limits.memory=1GB', '1GB'],
    ['persistence.size=ten', 'ten'],
    ['config.limits.timeout=3', 'timeout'],
    ['config.host=0.0.0.0', 'host'],
    ['config.agents.x.comand=3', 'comand'],
    ['providers.x.knd=openai', 'knd'],
    ['ingress.tls[0].secret=x', 'secret'],
    ['networkPolicy.from[0].podSelektor.matchLabels.a=b', 'podSelektor'],
    ['server.affinity.nodeAfinity.x=1', 'nodeAfinity'],
    ['server.tolerations[0].efect=NoSchedule', 'efect'],
    ['agents.jobTTL=-1', 'jobTTL'],
    ['agents.namespace=Upper_Case', 'namespace'],
    ['podDisruptionBudgets.enabled=true', 'podDisruptionBudgets'],
    ['auth.adminKey=short', 'adminKey'],
    ['agents.createNamespace=true', 'agents.createNamespace'],
    ['agents.resourceQuota.pods=3', 'agents.resourceQuota'],
    ['ingress.enabled=true', 'ingress.hosts'],
    ['httpRoute.enabled=true', 'httpRoute.parentRefs'],
    ['serviceMonitor.enabled=true', 'keySecret'],
    ['providers.demo.kind=openai', 'providers.demo'],
    ['providers.house.baseUrl=http://x', 'providers.house.kind'],
    ['serviceAccount.create=false', 'serviceAccount.name'],
  ])('--set %s is refused', (value, word) => {
    expect(() => render(['--set', value])).toThrow(word);
  });
});

function configOf(objects: Rendered[]): string {
  const map = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && !metadata.name.endsWith('-test'));
  return (map?.['data'] as Record<string, string> | undefined)?.['config.yaml'] ?? '';
}

interface Pod {
  securityContext: object;
  containers: { resources: object; securityContext: object }[];
  initContainers?: Pod['containers'];
}

function podsIn(object: Rendered): Pod[] {
  if (object.kind === 'Pod') return [object['spec'] as Pod];
  if (object.kind === 'Deployment') return [(object['spec'] as { template: { spec: Pod } }).template.spec];
  return [];
}

/** `<role>: <verb> <resource>.<group>[ <name>]` of each right in the Roles. */
function rightsIn(objects: Rendered[]): string[] {
  return objects
    .filter(({ kind }) => kind.endsWith('Role'))
    .flatMap(({ metadata, rules }) =>
      (rules as { apiGroups: string[]; resources: string[]; verbs: string[]; resourceNames?: string[] }[]).flatMap(
        (rule) =>
          rule.apiGroups.flatMap((group) =>
            rule.resources.flatMap((resource) =>
              rule.verbs.flatMap((verb) =>
                (rule.resourceNames ?? ['']).map((name) =>
                  `${metadata.name}: ${verb} ${resource}.${group} ${name}`.trimEnd(),
                ),
              ),
            ),
          ),
      ),
    )
    .toSorted();
}

function atobOrNothing(text: string): string {
  try {
    return atob(text);
  } catch {
    return '';
  }
}
