import { onTestFinished } from 'vitest';
import { NO_SANDBOX } from '../../src/contract/sandbox.ts';
import type { AttemptSpec } from '../../src/contract/attempt.ts';
import { newAttemptId } from '../../src/contract/ids.ts';
import { kubernetesSettings } from '../../src/contract/kubernetes.ts';
import { jobName } from '../../src/contract/pod.ts';
import { defaultLimits } from '../../src/contract/run.ts';
import { noPrints } from '../../src/contract/secrets.ts';
import { createKubernetesRuntime } from '../../src/runtime/kubernetes/kubernetes.ts';
import { createPods } from '../../src/runtime/kubernetes/pods.ts';
import type { AttemptEnd, Runtime } from '../../src/runtime/runtime.ts';
import { state, statusOf, type PlayedCluster } from './played-cluster.ts';
import { until } from './until.ts';

/** The runtime on a played cluster, and what it told the house. */

export interface Told {
  handle: string | null;
  seqs: number[];
  waiting: string[];
  transport: string[];
  ends: AttemptEnd[];
}

export function specOf(run = 'k3xyzabcde'): AttemptSpec {
  return {
    v: 1,
    run_id: run,
    variation_id: 0,
    attempt: 0,
    attempt_id: newAttemptId(),
    prompt: 'a prompt that must be in no object',
    agent: { name: 'builtin', command: ['x'], env: {}, mode: null, image: null, files: {}, read_paths: [] },
    sandbox: NO_SANDBOX,
    egress: false,
    work: null,
    secrets: noPrints,
    model: 'scripted/any',
    dialect: 'anthropic',
    door: { token: 'at_secret' },
    repository: { source: 'unused', base: 'a'.repeat(40) },
    limits: defaultLimits,
  };
}

export const NAME = jobName('k3xyzabcde', 0, 0);
export const place = { runId: 'k3xyzabcde', variation: 0, attempt: 0 };
export const POD = `${NAME}-x7k2p`;
export const running = statusOf('Running', state.running, state.running);

export function runtimeOn(
  cluster: PlayedCluster,
  directory: string,
  limits: Record<string, number> = {},
  stopGraceMs = 60_000,
) {
  const told: Told = { handle: null, seqs: [], waiting: [], transport: [], ends: [] };
  const pods = createPods({ directory });
  const runtime = createKubernetesRuntime({
    cluster,
    pods,
    settings: kubernetesSettings.parse({ start_timeouts: limits, grace_seconds: 5 }),
    doorUrl: 'http://door.test:8001',
    instance: 'a1b2c3',
    version: '0.0.0',
    stopGraceMs,
    lookMs: 20,
    drainMs: 300,
    goingMs: 100,
    reasonMs: 1000,
    preflight: () => Promise.resolve([]),
    events: {
      started: async (_attempt, handle) => {
        told.handle = handle;
      },
      batch: async (_attempt, { envelopes }) => void told.seqs.push(...envelopes.map(({ seq }) => seq)),
      waiting: async (_attempt, { message }) => void told.waiting.push(message),
      transport: (_attempt, message) => void told.transport.push(message),
      ended: async (_attempt, end) => void told.ends.push(end),
    },
  });
  onTestFinished(() => runtime.close());
  return { runtime, told, pods };
}

export async function started(cluster: PlayedCluster, runtime: Runtime, spec: AttemptSpec, told: Told) {
  await runtime.start(spec);
  await until(() => told.handle !== null);
}
