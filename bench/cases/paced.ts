import type { BenchCase } from '../bench-case.ts';
import { measureBoth } from '../harness/paced.ts';
import { startLoad, startNaive, startProduct } from '../harness/under-load.ts';

/** A thousand readers, 50 events a second each. */
export const paced: BenchCase = {
  name: 'paced',
  row: 'F2',
  run: async (context) => {
    const servers = [await startProduct(context), await startNaive(context)] as const;
    const load = await startLoad(context);
    const pace = {
      readers: context.pick({ tiny: 10, quick: 1000, full: 1000 }),
      perSecond: 50,
      events: context.pick({ tiny: 20, quick: 200, full: 500 }),
      warm: { perSecond: 100, events: context.pick({ tiny: 20, quick: 200, full: 400 }) },
    };
    const [ours, naive] = await measureBoth(context, load, servers, pace, context.pick({ tiny: 1, quick: 1, full: 5 }));
    const name = servers[1].name;
    const what = `${pace.readers} subscribers x 50/s`;
    return [
      {
        what: `${what}, p50`,
        unit: 'ms',
        rounds: ours.map(({ p50 }) => p50),
        beside: { name, rounds: naive.map(({ p50 }) => p50) },
      },
      {
        what: `${what}, p99`,
        unit: 'ms',
        rounds: ours.map(({ p99 }) => p99),
        beside: { name, rounds: naive.map(({ p99 }) => p99) },
      },
      {
        what: `${what}: server CPU per delivery`,
        unit: 'us',
        rounds: ours.map(({ cpuPerDelivery }) => cpuPerDelivery),
        beside: { name, rounds: naive.map(({ cpuPerDelivery }) => cpuPerDelivery) },
      },
    ];
  },
};
