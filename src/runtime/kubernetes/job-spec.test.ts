import { describe, expect, it } from 'vitest';
import { kubernetesSettings } from '../../contract/kubernetes.ts';
import { jobDeadline, jobOf, secretOf, type JobPlan } from './job-spec.ts';

const TOKEN = 'at_the-token-itself';

function plan(settings: object = {}, image?: string): JobPlan {
  return {
    spec: {
      run_id: 'k3xyzabcde',
      variation_id: 0,
      attempt: 0,
      attempt_id: '6a5ad21e-4f0c-4f0e-9d7c-000000000001',
      agent: { image: image ?? null },
      limits: { timeout_seconds: 1800 },
    },
    settings: kubernetesSettings.parse({ image: 'localhost:5005/aideator-agent:1', ...settings }),
    namespace: 'agents',
    doorUrl: 'http://aideator-attempts.aideator.svc:8001',
    instance: 'a1b2c3',
    version: '0.1.0',
  };
}

const podOf = (given: JobPlan) => jobOf(given).spec.template.spec;

describe('a Job', () => {
  it('is named after run and variation, a retry with its number', () => {
    expect(jobOf(plan()).metadata.name).toBe('agent-k3xyzabcde-0');
    const retry = plan();
    retry.spec = { ...retry.spec, variation_id: 31, attempt: 2 };
    expect(jobOf(retry).metadata.name).toBe('agent-k3xyzabcde-31-r2');
    expect(secretOf(retry, 'uid', TOKEN).metadata.name).toBe('agent-k3xyzabcde-31-r2');
  });

  it('is made suspended, is tried once, and names the sidecar whose log people want', () => {
    const { spec } = jobOf(plan());
    expect(spec).toMatchObject({ suspend: true, backoffLimit: 0, completions: 1, parallelism: 1 });
    expect(spec).not.toHaveProperty('ttlSecondsAfterFinished');
    expect(spec.template.spec.restartPolicy).toBe('Never');
    expect(spec.template.metadata.annotations['kubectl.kubernetes.io/default-container']).toBe('recorder');
  });

  it('has a deadline that no deadline of ours can reach', () => {
    const given = plan({ hold_seconds: 600 });
    const waiting = Object.values(given.settings.start_timeouts).reduce((sum, each) => sum + each, 0);
    expect(jobDeadline(given)).toBeGreaterThanOrEqual(waiting + 1800 + 600 + 60);
    expect(jobOf(given).spec.activeDeadlineSeconds).toBe(jobDeadline(given));
  });

  it('meets the Pod Security level `restricted`, in every container', () => {
    const spec = podOf(plan());
    expect(spec.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 1000,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(spec).toMatchObject({ automountServiceAccountToken: false, enableServiceLinks: false });
    for (const each of [...spec.initContainers, ...spec.containers]) {
      expect(each.securityContext).toMatchObject({
        runAsNonRoot: true,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      for (const amounts of [each.resources.requests, each.resources.limits])
        expect(Object.keys(amounts).toSorted()).toEqual(['cpu', 'ephemeral-storage', 'memory']);
    }
    // Only kinds of volumes that `restricted` allows, and none without a limit.
    for (const volume of spec.volumes) {
      if ('secret' in volume) continue;
      expect(volume.emptyDir?.sizeLimit).toMatch(/^\d+(Mi|Gi)$/);
    }
    expect(JSON.stringify(spec)).not.toMatch(/hostPath|hostNetwork|hostPID|hostPort/);
  });

  it('shows the agent neither the token nor the journal, and the recorder’s socket read-only', () => {
    const [agent] = podOf(plan()).containers;
    const names = agent?.volumeMounts.map(({ name }) => name);
    expect(names).toEqual(['workspace', 'home', 'tmp', 'link']);
    expect(agent?.volumeMounts.find(({ name }) => name === 'link')).toMatchObject({ readOnly: true });
    // Node opens its inspector on SIGUSR1, and the agent is of the launcher's user.
    expect(agent?.command).toContain('--disable-sigusr1');
    expect(agent?.env.map(({ name }) => name)).toEqual(['HOME', 'TMPDIR']);
    const [recorder] = podOf(plan()).initContainers;
    expect(recorder).toMatchObject({ name: 'recorder', restartPolicy: 'Always' });
    expect(recorder?.volumeMounts.find(({ name }) => name === 'secret')).toMatchObject({ readOnly: true });
  });

  it('has the token in its Secret alone, which goes with it', () => {
    const given = plan();
    expect(JSON.stringify(jobOf(given))).not.toContain(TOKEN);
    const secret = secretOf(given, 'the-uid', TOKEN);
    expect(secret).toMatchObject({ immutable: true, stringData: { token: TOKEN } });
    expect(secret.metadata.ownerReferences).toEqual([
      { apiVersion: 'batch/v1', kind: 'Job', name: 'agent-k3xyzabcde-0', uid: 'the-uid' },
    ]);
  });

  it('runs the agent in the image that was asked for, and the recorder in ours', () => {
    const spec = podOf(plan({}, 'example.test/toolchain:7'));
    expect(spec.containers[0]?.image).toBe('example.test/toolchain:7');
    expect(spec.initContainers[0]?.image).toBe('localhost:5005/aideator-agent:1');
  });

  it('takes from the settings where and how it runs', () => {
    const given = plan({
      queue: 'team-a',
      runtime_class: 'gvisor',
      priority_class: 'low',
      node_selector: { pool: 'agents' },
      tolerations: [{ key: 'agents', operator: 'Exists' }],
      affinity: { nodeAffinity: {} },
      image_pull_secrets: ['registry'],
      labels: { team: 'a', 'aideator.dev/run': 'not-yours' },
      annotations: { note: 'x' },
      grace_seconds: 33,
    });
    const job = jobOf(given);
    expect(job.metadata.labels).toMatchObject({ 'kueue.x-k8s.io/queue-name': 'team-a', team: 'a' });
    expect(podOf(given)).toMatchObject({
      runtimeClassName: 'gvisor',
      priorityClassName: 'low',
      nodeSelector: { pool: 'agents' },
      tolerations: [{ key: 'agents', operator: 'Exists' }],
      affinity: { nodeAffinity: {} },
      imagePullSecrets: [{ name: 'registry' }],
      terminationGracePeriodSeconds: 33,
    });
    // The recorder has to know how long it has.
    expect(podOf(given).initContainers[0]?.env).toContainEqual({ name: 'AIDEATOR_GRACE_SECONDS', value: '33' });
    // Ours are found by; nobody else's word replaces them.
    expect(job.spec.template.metadata.labels).toMatchObject({ 'aideator.dev/run': 'k3xyzabcde', team: 'a' });
    expect(job.spec.template.metadata.annotations).toMatchObject({ note: 'x' });
  });
});

describe('settings', () => {
  const refused = (settings: object) => () => kubernetesSettings.parse(settings);
  it.each([
    ['a quantity', { resources: { limits: { memory: '1 GB' } } }],
    ['a namespace', { namespace: 'Agents' }],
    ['a label', { labels: { 'no good key!': 'x' } }],
    ['a label’s value', { labels: { team: 'a b' } }],
    ['a misspelt name', { resource: {} }],
    ['a misspelt resource', { resources: { limits: { memroy: '1Gi' } } }],
  ])('are refused at the start where %s is wrong', (_what, settings) => {
    expect(refused(settings)).toThrow(/./);
  });

  it('have the defaults that are promised', () => {
    const { resources, job_ttl_seconds: ttl } = kubernetesSettings.parse({});
    expect(resources.requests).toMatchObject({ cpu: '100m', memory: '256Mi' });
    expect(resources.limits).toMatchObject({ cpu: '500m', memory: '1Gi' });
    expect(ttl).toBe(3600);
  });
});
