import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';
import type { Event, EventPage } from '../../src/contract/api.ts';
import { labels } from '../../src/contract/pod.ts';
import { startTestHouse, type TestHouse, type TestHouseOptions } from './house.ts';
import { clusterSettings, type Kubernetes, type RealCluster } from './real-cluster.ts';

/** A house in this process whose attempts are Jobs of a real cluster, and what tests want to see of those. */
export interface ClusterHouse extends TestHouse {
  namespace: string;
  /** What it was started with: to start another one on the same folder. */
  settings: Record<string, unknown>;
}

export interface ClusterHouseOptions extends Pick<TestHouseOptions, 'script' | 'home' | 'env'> {
  settings?: Record<string, unknown>;
  /** Laid over: requests that let many pods onto a small node. */
  kubernetes?: Record<string, unknown>;
}

/** Little enough for ten attempts beside each other on two cores. */
export const smallResources = {
  resources: {
    requests: { cpu: '10m', memory: '64Mi', 'ephemeral-storage': '64Mi' },
    limits: { cpu: '1', memory: '256Mi', 'ephemeral-storage': '1Gi' },
  },
  recorder_resources: {
    requests: { cpu: '10m', memory: '64Mi', 'ephemeral-storage': '64Mi' },
    limits: { cpu: '1', memory: '256Mi', 'ephemeral-storage': '1Gi' },
  },
};

export async function startClusterHouse(
  cluster: RealCluster,
  namespace: string,
  { settings, kubernetes, ...rest }: ClusterHouseOptions = {},
): Promise<ClusterHouse> {
  const all = await clusterSettings(cluster, namespace, {
    ...(settings === undefined ? {} : { settings }),
    kubernetes: { ...smallResources, ...kubernetes },
  });
  return { ...(await startTestHouse({ ...rest, settings: all })), namespace, settings: all };
}

/** The next server on a folder that was left. */
export async function startAgain(house: ClusterHouse, script?: string): Promise<ClusterHouse> {
  const { home, namespace, settings } = house;
  const next = await startTestHouse({ home, settings, ...(script === undefined ? {} : { script }) });
  return { ...next, namespace, settings };
}

const agentSource = stripTypeScriptTypes(readFileSync(join(import.meta.dirname, 'acp-agent.ts'), 'utf8'));

/** The command of {@link file://./acp-agent.ts}, for a container that has Node and no file of ours. */
export function agentInPod(behaviour: string, ...args: string[]): { command: string[] } {
  return { command: ['{node}', '--input-type=module', '-e', agentSource, 'acp-agent', behaviour, ...args] };
}

/** kubectl without holding up the house that runs in this process. Rejects with what it complained of. */
export async function ask({ kubeconfig }: RealCluster, ...args: string[]): Promise<string> {
  const env = { ...process.env, KUBECONFIG: kubeconfig };
  const { stdout } = await promisify(execFile)('kubectl', args, { env, encoding: 'utf8', maxBuffer: 1 << 28 });
  return stdout;
}

/** `kubectl create -f -` of an object, or what else takes one on its standard input. */
export function tell({ kubeconfig }: RealCluster, input: object, args = ['create']): Promise<string> {
  const child = spawn('kubectl', [...args, '-f', '-'], { env: { ...process.env, KUBECONFIG: kubeconfig } });
  child.stdin.end(JSON.stringify(input));
  return ended(child);
}

/** `kubectl logs -f job/…`, as a person types it; resolves with all it printed when it ends by itself. */
export function followedLog({ kubeconfig }: RealCluster, namespace: string, job: string): Promise<string> {
  const args = ['logs', '-f', `job/${job}`, '-n', namespace];
  const child = spawn('kubectl', args, { env: { ...process.env, KUBECONFIG: kubeconfig } });
  onTestFinished(() => void child.kill());
  return ended(child);
}

function ended(child: ReturnType<typeof spawn>): Promise<string> {
  const out: Buffer[] = [];
  const complaints: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => complaints.push(chunk));
  return new Promise((resolve, reject) =>
    child.once('close', (code) => {
      if (code === 0) resolve(Buffer.concat(out).toString());
      else
        reject(new Error(`${child.spawnargs.join(' ')} ended with ${code}: ${Buffer.concat(complaints).toString()}`));
    }),
  );
}

/** Objects of one kind (or kinds, by commas) that belong to a run. */
export async function objectsOf(
  cluster: RealCluster,
  namespace: string,
  kinds: string,
  runId: string,
): Promise<Kubernetes[]> {
  const selector = `${labels.run}=${runId}`;
  return JSON.parse(await ask(cluster, 'get', kinds, '-n', namespace, '-l', selector, '-o', 'json')).items;
}

/** Whether Kubernetes says that a Job is over for good. */
export function isFinished(job: Kubernetes): boolean {
  const conditions: { type: string; status: string }[] = job.status?.conditions ?? [];
  return conditions.some(({ type, status }) => status === 'True' && (type === 'Complete' || type === 'Failed'));
}

/** All events of a run, or of one of its variations, from the first on. */
export async function eventsOf(house: Pick<TestHouse, 'api'>, runId: string, variation?: number): Promise<Event[]> {
  const events: Event[] = [];
  const which = variation === undefined ? '' : `&variation_id=${variation}`;
  for (let after: number | null = 0; after !== null;) {
    const path: string = `/api/v1/runs/${runId}/outputs?limit=1000&after=${after}${which}`;
    const { body }: { body: EventPage } = await house.api<EventPage>('GET', path);
    events.push(...body.events);
    after = body.next_after;
  }
  return events;
}

/** What an agent of a variation was heard to say or think, in order. */
export async function saidBy(house: TestHouse, runId: string, variation: number): Promise<string[]> {
  const events = await eventsOf(house, runId, variation);
  return events
    .filter(({ data }) => data['kind'] === 'agent_thought_chunk' || data['kind'] === 'agent_message_chunk')
    .map(({ data }) => String(data['content']));
}
