import type { BenchCase, BenchContext } from '../bench-case.ts';
import type { Child } from '../harness/child.ts';
import { judge, startLoad, startNaive, startProduct, type UnderLoad } from '../harness/under-load.ts';
import type { Load } from '../load/main.ts';

const MB = 1024 * 1024;
const REACH_MS = 40_000;
const PER_SECOND = 10_000;

interface Round {
  /** How much the server's memory grew (MB), at most. */
  growth: number;
  /** Milliseconds, of the reader that reads. */
  p99: number;
  /** Until all that were stuck had everything (ms). */
  caughtUp: number;
}

/** @param canResume whether those that were cut off can come back; without it all go on where they stopped. */
async function getStuck(
  context: BenchContext,
  load: Child<Load>,
  server: UnderLoad,
  canResume: boolean,
): Promise<Round> {
  const events = context.pick({ tiny: 500, quick: 60_000, full: 60_000 });
  const stuck = { count: context.pick({ tiny: 4, quick: 50, full: 50 }), afterFrames: 100 };
  const readers = stuck.count + 1;
  await load.call('open', { ...(await server.target()), count: readers, stuck });
  const warm = await server.pace({ perSecond: 3000, events: context.pick({ tiny: 100, quick: 3000, full: 3000 }) });
  await load.call('reached', { seq: warm.seq, timeoutMs: REACH_MS });
  await load.call('time');
  const sent = await server.pace({ perSecond: PER_SECOND, events });
  const { latencies } = await load.call('reached', { seq: sent.seq, timeoutMs: REACH_MS });
  const start = performance.now();
  await load.call('wake', { cut: canResume });
  const report = await load.call('reached', { seq: sent.seq, timeoutMs: REACH_MS });
  const caughtUp = performance.now() - start;
  await load.call('close');
  judge(context, `${server.name}, stuck readers`, { ...report, busy: 0 }, sent.seq * readers);
  return { growth: (sent.memory.peak - sent.memory.before) / MB, p99: latencies.p99, caughtUp };
}

/** 50 readers that stop reading, one that goes on: what the others cost it and the server, and whether they lose anything. */
export const stuckReaders: BenchCase = {
  name: 'stuck-readers',
  row: 'M2',
  run: async (context) => {
    const load = await startLoad(context);
    const ours: Round[] = [];
    const theirs: Round[] = [];
    for (let round = 0; round < context.pick({ tiny: 1, quick: 2, full: 3 }); round += 1) {
      // A server of its own for each round: memory once grown is seldom given back.
      ours.push(await getStuck(context, load, await startProduct(context), true));
    }
    try {
      theirs.push(await getStuck(context, load, await startNaive(context), false));
    } catch (error) {
      // It holds all that nobody reads in memory: that it gets nowhere with it is a result too.
      context.say(`the peer did not get through: ${error instanceof Error ? error.message : String(error)}`);
    }
    const beside = (value: (round: Round) => number) =>
      theirs.length === 0 ? undefined : { name: 'naive node:http', rounds: theirs.map(value) };
    const count = context.pick({ tiny: 4, quick: 50, full: 50 });
    return [
      {
        what: `${count} stuck readers, 10,000 events/s: memory growth of the server`,
        unit: 'MB',
        rounds: ours.map(({ growth }) => growth),
        goal: { atMost: 60 },
        beside: beside(({ growth }) => growth),
      },
      {
        what: `${count} stuck readers: p99 of the healthy one`,
        unit: 'ms',
        rounds: ours.map(({ p99 }) => p99),
        goal: { atMost: 5 },
        beside: beside(({ p99 }) => p99),
      },
      {
        what: `${count} stuck readers: until all have everything after they read again (half of them reconnect)`,
        unit: 'ms',
        rounds: ours.map(({ caughtUp }) => caughtUp),
      },
    ];
  },
};
