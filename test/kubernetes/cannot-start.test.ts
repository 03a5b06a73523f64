import { afterAll, describe, expect, it } from 'vitest';
import type { Run } from '../../src/contract/api.ts';
import {
  ask,
  eventsOf,
  objectsOf,
  startClusterHouse,
  tell,
  type ClusterHouse,
  type ClusterHouseOptions,
} from '../support/cluster-house.ts';
import { makeNamespace, realCluster } from '../support/real-cluster.ts';
import { sourceRepository } from '../support/sources.ts';
import { until } from '../support/until.ts';

/** Attempts that never begin: each ends by itself, in the time it is given, with a reason of its own and Kubernetes' own words. */

const cluster = realCluster();
const name = `kubetests-start-${process.pid}`;
const script = 'models: { any: { turns: [{ text: hello }] } }';
/** Seconds. What is not to be reached is long. */
const limits = { unschedulable: 4, admission: 4, image_pull: 6, config: 8, start: 120 };
/** Beside its limit: what a busy machine takes until there is a pod at all (seconds). */
const SLACK = 30;

interface Case {
  what: string;
  kubernetes?: Record<string, unknown>;
  image?: string;
  /** A namespace of its own, with so much of this. */
  quota?: Record<string, string>;
  reason: string;
  words: RegExp;
  /** Seconds it waits before it gives up. */
  limit: number;
  meanwhile?: (house: ClusterHouse, runId: string) => Promise<void>;
}

const missing = cluster?.agentImage.replace(/:[^:]*$/, ':there-is-none') ?? '';
const cases: Case[] = [
  {
    what: 'an agent’s image that does not exist',
    image: missing,
    reason: 'image_pull_failed',
    words: /(ErrImagePull|ImagePullBackOff): .*there-is-none.*\(for \d+ s\)/s,
    limit: limits.image_pull,
  },
  {
    what: 'a recorder’s image that does not exist',
    kubernetes: { image: missing },
    reason: 'image_pull_failed',
    words: /(ErrImagePull|ImagePullBackOff): .*there-is-none.*\(for \d+ s\)/s,
    limit: limits.image_pull,
  },
  {
    what: 'an image whose name is none',
    image: 'NoSuch//Name:x',
    reason: 'image_invalid',
    words: /^InvalidImageName: .*NoSuch\/\/Name/,
    limit: 0,
  },
  {
    what: 'a node that nobody has',
    kubernetes: { node_selector: { 'example.com/nobody': 'has-it' } },
    reason: 'unschedulable',
    words: /^Unschedulable: 0\/\d+ nodes are available.*selector.*\(for \d+ s\)/,
    limit: limits.unschedulable,
  },
  {
    what: 'a thousand processors',
    kubernetes: { resources: { requests: { cpu: 1000 }, limits: { cpu: 1000 } } },
    reason: 'unschedulable',
    words: /^Unschedulable: 0\/\d+ nodes are available.*Insufficient cpu.*\(for \d+ s\)/,
    limit: limits.unschedulable,
  },
  {
    what: 'a quota of no pods',
    quota: { pods: '0' },
    reason: 'admission_refused',
    words: /^FailedCreate: .*forbidden: exceeded quota: none.*\(for \d+ s\)/,
    limit: limits.admission,
  },
  {
    what: 'a quota of no Jobs',
    quota: { 'count/jobs.batch': '0' },
    reason: 'admission_refused',
    words: /^Kubernetes refused the Job: .*exceeded quota: none/,
    limit: 0,
  },
  {
    what: 'a quota of no Secrets',
    quota: { 'count/secrets': '0' },
    reason: 'admission_refused',
    words: /^Kubernetes refused the Job: .*exceeded quota: none/,
    limit: 0,
  },
  {
    what: 'a Secret that is gone when the queue admits the Job',
    kubernetes: { queue: 'nobody' },
    reason: 'pod_config_error',
    words: /^FailedMount: .*secret "agent-.*" not found.*\(for \d+ s\)/,
    limit: limits.config,
    meanwhile: async (house, runId) => {
      await until(async () => (await waitingFor(house, runId)) === 'Suspended');
      await ask(cluster!, 'delete', 'secret', '-n', house.namespace, `agent-${runId}-0`);
      await ask(
        cluster!,
        'patch',
        'job',
        '-n',
        house.namespace,
        `agent-${runId}-0`,
        '-p',
        '{"spec":{"suspend":false}}',
      );
    },
  },
];

async function waitingFor(house: ClusterHouse, runId: string): Promise<string | undefined> {
  const { body } = await house.api<Run>('GET', `/api/v1/runs/${runId}`);
  return body.variations[0]?.attempts[0]?.waiting?.reason;
}

describe.runIf(cluster !== null)('an attempt that cannot start', () => {
  const removals = cluster === null ? [] : [makeNamespace(cluster, name)];
  afterAll(() => removals.forEach((remove) => remove()));

  /** All at once: waiting costs nothing. */
  it('ends with its own reason, in its time, without ever having run, and leaves no pod', async () => {
    if (cluster === null) return;
    const repository = sourceRepository();
    const ends = cases.map(async (each, index) => {
      const namespace = each.quota === undefined ? name : `${name}-${index}`;
      if (each.quota !== undefined) await makeQuota(namespace, each.quota);
      const options: ClusterHouseOptions = {
        script,
        settings: { default_model: 'scripted/any' },
        kubernetes: { start_timeouts: limits, images: ['*'], ...each.kubernetes },
      };
      const house = await startClusterHouse(cluster, namespace, options);
      const since = Date.now();
      const image = each.image === undefined ? {} : { image: each.image };
      const runId = await house.submit({ repository, prompt: 'Say hello.', variations: 1, ...image });
      await each.meanwhile?.(house, runId);
      const run = await house.over(runId, 120_000);
      const seconds = (Date.now() - since) / 1000;
      const [variation] = run.variations;
      const events = await eventsOf(house, runId);
      const was = events.filter(({ type }) => type === 'variation_status').map(({ data }) => data['status']);
      const seen = {
        what: each.what,
        reason: variation?.end_reason,
        message: variation?.message,
        status: run.status,
        was,
        running_ms: variation?.running_ms,
        complete: variation?.attempts[0]?.log_complete,
        pods: await podsLeft(namespace, runId),
      };
      return { seen, seconds };
    });
    const found = await Promise.all(ends);
    expect(found.map(({ seen }) => seen)).toEqual(
      cases.map(({ what, reason, words }) => ({
        what,
        reason,
        message: expect.stringMatching(words),
        status: 'failed',
        was: expect.not.arrayContaining(['running']),
        running_ms: null,
        complete: true,
        pods: 0,
      })),
    );
    for (const [index, { seconds }] of found.entries()) {
      const { limit = 0 } = cases[index] ?? {};
      expect(seconds).toBeGreaterThanOrEqual(limit);
      expect(seconds).toBeLessThan(limit + SLACK);
    }
  });

  async function makeQuota(namespace: string, hard: Record<string, string>): Promise<void> {
    removals.push(makeNamespace(cluster!, namespace));
    const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'none', namespace }, spec: { hard } };
    await tell(cluster!, quota, ['apply']);
    const status = ['get', 'resourcequota', 'none', '-n', namespace, '-o', 'jsonpath={.status.hard}'];
    await until(async () => (await ask(cluster!, ...status)) !== '');
  }
});

/** Those that are not over: they go with their Job. */
async function podsLeft(namespace: string, runId: string): Promise<number> {
  let left: number | undefined;
  await until(async () => {
    const pods = await objectsOf(cluster!, namespace, 'pods', runId);
    left = pods.filter(({ status }) => status.phase === 'Pending' || status.phase === 'Running').length;
    return left === 0;
  }).catch(() => undefined);
  return left ?? -1;
}
