import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import type { Run } from '../../src/contract/api.ts';
import { isTerminal } from '../../src/contract/run.ts';
import { talker } from '../support/pod-agent.ts';
import { clusterSettings, makeNamespace, realCluster, type Kubernetes } from '../support/real-cluster.ts';
import { prepareServer } from '../support/server-process.ts';
import { sourceRepository } from '../support/sources.ts';

/**
 * Many attempts through a small gate: how many run at once is held, and the server does not grow with them. How many is
 * AIDEATOR_TEST_ATTEMPTS (default 40; 200 take about ten minutes on two cores).
 */

const cluster = realCluster();
const namespace = `aideator-scale-${process.pid}`;
const total = Number(process.env['AIDEATOR_TEST_ATTEMPTS'] ?? 40);
const MAX_PARALLEL = 10;
const MOST_OF_A_RUN = 32;

describe.runIf(cluster !== null)('many attempts', () => {
  afterAll(cluster === null ? () => undefined : makeNamespace(cluster, namespace));

  it(
    `${total} are queued through max_parallel ${MAX_PARALLEL}, with flat memory and sockets`,
    async () => {
      const settings = await clusterSettings(cluster!, namespace, {
        settings: {
          max_parallel: MAX_PARALLEL,
          default_model: 'scripted/any',
          default_agent: 'talker',
          agents: { talker: { command: talker({ count: 20, everyMs: 5 }) } },
        },
        kubernetes: {
          job_ttl_seconds: 1,
          resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '256Mi' } },
        },
      });
      const server = prepareServer({ script: 'models: { any: { turns: [{ text: hello }] } }', settings });
      await server.start();
      const repository = sourceRepository();
      const runs: string[] = [];
      for (let left = total; left > 0; left -= MOST_OF_A_RUN)
        runs.push(await server.submit({ repository, prompt: 'Count.', variations: Math.min(left, MOST_OF_A_RUN) }));

      const samples: { rss: number; files: number; active: number; ended: number }[] = [];
      for (;;) {
        const states = await Promise.all(
          runs.map(async (id) => (await server.api<Run>('GET', `/api/v1/runs/${id}`)).body),
        );
        const ended = states.flatMap(({ variations }) => variations).filter(({ status }) => isTerminal(status)).length;
        samples.push({ ...usageOf(server.pid), active: activeJobs(), ended });
        if (states.every(({ status }) => isTerminal(status))) break;
        await pause(2000);
      }
      for (const id of runs) {
        const run = await server.over(id);
        expect(run.summary).toBe(`${run.variations.length} of ${run.variations.length} variations succeeded`);
        for (const { attempts } of run.variations) expect(attempts).toMatchObject([{ log_complete: true }]);
      }
      expect(Math.max(...samples.map(({ active }) => active))).toBeLessThanOrEqual(MAX_PARALLEL);
      // From when the gate was full for the first time: what came before is the server warming up.
      const warm = samples.filter(({ ended }) => ended >= Math.min(MAX_PARALLEL * 2, total / 2));
      const [first] = warm;
      const growth = Math.max(...warm.map(({ rss }) => rss)) - (first?.rss ?? 0);
      process.stderr.write(
        `scale: ${total} attempts, ${MAX_PARALLEL} at once: memory ${mb(first?.rss ?? 0)} -> ${mb(samples.at(-1)?.rss ?? 0)} MB, ` +
          `files ${first?.files} -> ${samples.at(-1)?.files}, ${(cpuSeconds(server.pid) / total).toFixed(2)} s of the server's CPU an attempt\n`,
      );
      expect(growth).toBeLessThan(64 * 1024 * 1024);
      // Idle again: no follower, link or upload is left open.
      await pause(3000);
      expect(usageOf(server.pid).files).toBeLessThanOrEqual((first?.files ?? 0) + 5);
    },
    30 * 60_000,
  );
});

function activeJobs(): number {
  const jobs = cluster!.get('jobs', '-n', namespace).items as Kubernetes[];
  const isOver = (job: Kubernetes) =>
    (job.status.conditions ?? []).some(({ type }: { type: string }) => type === 'Complete' || type === 'Failed');
  return jobs.filter(
    (job) =>
      !isOver(job) && job.spec.suspend !== true && (job.status.terminating ?? 0) === 0 && (job.status.ready ?? 0) > 0,
  ).length;
}

/** Memory (bytes) and open files of a process. */
function usageOf(pid: number): { rss: number; files: number } {
  const kilobytes = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  return { rss: kilobytes * 1024, files: readdirSync(`/proc/${pid}/fd`).length };
}

/** CPU time of a process since it was started, in seconds (proc_pid_stat(5), 100 ticks a second). */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function mb(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(0);
}
