import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { addressForPods, freePort, realCluster } from '../../test/support/real-cluster.ts';
import type { BenchCase, BenchContext } from '../bench-case.ts';
import type { Child } from '../harness/child.ts';
import { startLoad } from '../harness/under-load.ts';
import { makeWorkshop } from '../harness/workshop.ts';
import type { Load } from '../load/main.ts';
import type { Watched } from '../load/submission.ts';
import type { BareJob } from '../peers/bare-job.ts';
import type { HouseServer } from '../servers/house.ts';

/**
 * From the POST to the agent's first words at a client of the stream, where attempts are Jobs; beside a bare Job of the same image and
 * `kubectl logs -f`. Needs a cluster and its images (see test/support/real-cluster.ts); without one it says so and measures nothing.
 */

const ECHO = new URL('../agents/echo.sh', import.meta.url);
const TIMEOUT_MS = 120_000;
/** Between two rounds: pods of the last one are still being taken down. */
const REST_MS = 6000;

async function submit(
  context: BenchContext,
  load: Child<Load>,
  url: string,
  repository: string,
  variations: number,
): Promise<Watched> {
  await wait(REST_MS);
  const body = { repository, prompt: 'Say it.', agent: 'echo', variations };
  const watched = await load.call('submit', { url, body, timeoutMs: TIMEOUT_MS });
  for (const violation of watched.violations) context.check(false, `Jobs: ${violation}`);
  context.check(
    watched.succeeded === variations,
    `Jobs: ${watched.status}, ${watched.succeeded} of ${variations} succeeded`,
  );
  return watched;
}

const last = (watched: Watched) => Math.max(...watched.variations.map(({ firstWords }) => firstWords));

export const jobStart: BenchCase = {
  name: 'job-start',
  row: 'K1',
  run: async (context) => {
    const cluster = realCluster();
    if (cluster === null) return [];
    const namespace = `aideator-bench-${process.pid}`;
    const folder = context.folder();
    const { repository, settings } = makeWorkshop(folder);
    const peer = await context.start<BareJob>(new URL('../peers/bare-job.ts', import.meta.url));
    await peer.call('open', { namespace, image: cluster.agentImage });
    const port = await freePort();
    const house = await context.start<HouseServer>(new URL('../servers/house.ts', import.meta.url));
    const url = await house.call('open', {
      home: folder,
      settings: {
        ...settings,
        runtime: 'kubernetes',
        door_port: port,
        door_url: `http://${addressForPods(cluster)}:${port}`,
        agents: { echo: { command: ['sh', '-c', readFileSync(ECHO, 'utf8')] } },
        kubernetes: { kubeconfig: cluster.kubeconfig, namespace, image: cluster.agentImage, job_ttl_seconds: 5 },
      },
    });
    const load = await startLoad(context);
    try {
      await submit(context, load, url, repository, 1);
      const rounds = context.pick({ tiny: 1, quick: 3, full: 7 });
      const figures: Record<'one' | 'five' | 'bareOne' | 'bareFive', number[]> = {
        one: [],
        five: [],
        bareOne: [],
        bareFive: [],
      };
      for (let round = 0; round < rounds; round += 1) {
        figures.one.push(last(await submit(context, load, url, repository, 1)));
        await wait(REST_MS);
        figures.bareOne.push(...(await peer.call('start', 1)));
        figures.five.push(last(await submit(context, load, url, repository, 5)));
        await wait(REST_MS);
        figures.bareFive.push(Math.max(...(await peer.call('start', 5))));
      }
      const bare = 'bare Job and kubectl logs -f';
      return [
        {
          what: '1 Job: POST to the first words at a client of the stream',
          unit: 'ms',
          rounds: figures.one,
          goal: { atMost: 1400 },
          beside: { name: bare, rounds: figures.bareOne },
        },
        {
          what: '5 Jobs: POST to the first words of the last',
          unit: 'ms',
          rounds: figures.five,
          goal: { atMost: 2800 },
          beside: { name: bare, rounds: figures.bareFive },
        },
      ];
    } finally {
      await house.call('stop');
      await peer.call('close');
    }
  },
};
