import type { BenchCase, BenchContext, Figure } from '../bench-case.ts';
import { measurePaced, type Pace, type PacedRound } from '../harness/paced.ts';
import { startLoad, startProduct } from '../harness/under-load.ts';

/** 2000 events a second to many: what only coalesced writes can keep up with, so no peer stands beside it. */
export const pacedFast: BenchCase = {
  name: 'paced-fast',
  row: 'F3',
  run: async (context) => {
    const server = await startProduct(context);
    const load = await startLoad(context);
    const measure = async (pace: Pace): Promise<PacedRound[]> => {
      const rounds: PacedRound[] = [];
      for (let round = 0; round < roundsOf(context); round += 1) {
        rounds.push(await measurePaced(context, load, server, pace));
      }
      return rounds;
    };
    const events = context.pick({ tiny: 50, quick: 4000, full: 10_000 });
    const warm = { perSecond: 2000, events: context.pick({ tiny: 20, quick: 2000, full: 3000 }) };
    const few = await measure({ readers: 100, perSecond: 2000, events, warm });
    const crowd = context.pick({ tiny: 10, quick: 1000, full: 1000 });
    const many = await measure({ readers: crowd, perSecond: 2000, events, warm });
    const figures: Figure[] = [
      { what: '100 subscribers x 2000/s, p99', unit: 'ms', rounds: few.map(({ p99 }) => p99), goal: { atMost: 10 } },
      {
        what: '100 subscribers x 2000/s: server CPU',
        unit: 'cores',
        rounds: few.map(({ cores }) => cores),
        goal: { atMost: 0.7 },
      },
      {
        what: `${crowd} subscribers x 2000/s, p99`,
        unit: 'ms',
        rounds: many.map(({ p99 }) => p99),
        goal: { atMost: 40 },
      },
    ];
    return figures;
  },
};

function roundsOf(context: BenchContext): number {
  return context.pick({ tiny: 1, quick: 1, full: 3 });
}
