import type { BenchCase } from '../bench-case.ts';
import { measureBoth } from '../harness/paced.ts';
import { startLoad, startNaive, startProduct } from '../harness/under-load.ts';

/** One reader, 500 events a second: what the way through the store costs in time. */
export const warmLatency: BenchCase = {
  name: 'warm-latency',
  row: 'F4',
  run: async (context) => {
    const servers = [await startProduct(context), await startNaive(context)] as const;
    const load = await startLoad(context);
    const pace = {
      readers: 1,
      perSecond: 500,
      events: context.pick({ tiny: 50, quick: 1000, full: 5000 }),
      warm: { perSecond: 3000, events: context.pick({ tiny: 50, quick: 3000, full: 6000 }) },
    };
    const [ours, naive] = await measureBoth(context, load, servers, pace, context.pick({ tiny: 1, quick: 3, full: 5 }));
    const name = servers[1].name;
    const what = '1 subscriber x 500/s, append to read';
    return [
      {
        what: `${what}, p50`,
        unit: 'ms',
        rounds: ours.map(({ p50 }) => p50),
        goal: { atMost: 0.3 },
        beside: { name, rounds: naive.map(({ p50 }) => p50) },
      },
      {
        what: `${what}, p99`,
        unit: 'ms',
        rounds: ours.map(({ p99 }) => p99),
        goal: { atMost: 1.5 },
        beside: { name, rounds: naive.map(({ p99 }) => p99) },
      },
    ];
  },
};
