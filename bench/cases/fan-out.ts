import type { BenchCase, BenchContext, Figure } from '../bench-case.ts';
import type { Child } from '../harness/child.ts';
import { judge, startLoad, startNaive, startProduct, type UnderLoad } from '../harness/under-load.ts';
import type { Load } from '../load/main.ts';

/** As fast as it goes, with 64 events on their way to readers at a time. */
const WINDOW_EVENTS = 64;
const REACH_MS = 20_000;

interface Round {
  perSecond: number;
  /** CPU of the server per delivery (us). */
  cpu: number;
}

async function burst(context: BenchContext, load: Child<Load>, server: UnderLoad, readers: number): Promise<Round> {
  const target = await server.target();
  await load.call('open', { ...target, count: readers });
  const maxEvents = context.pick({ tiny: 200, quick: 1_000_000, full: 1_000_000 });
  // Warm sockets and code; a thousand readers make much of few events.
  await server.burst({
    windowEvents: WINDOW_EVENTS,
    ms: context.pick({ tiny: 100, quick: 200, full: 400 }),
    maxEvents: Math.min(3000, maxEvents),
  });
  const sent = await server.burst({
    windowEvents: WINDOW_EVENTS,
    ms: context.pick({ tiny: 200, quick: 700, full: 3000 }),
    maxEvents,
  });
  const report = await load.call('reached', { seq: sent.seq, timeoutMs: REACH_MS });
  await load.call('close');
  judge(context, `${server.name}, burst to ${readers}`, report, sent.seq * readers);
  const deliveries = sent.events * readers;
  return { perSecond: deliveries / (sent.ms / 1000), cpu: sent.cpuUs / deliveries };
}

/** The same events to 1, 100 and 1000 readers, stored on the way; beside what does not store them. */
export const fanOut: BenchCase = {
  name: 'fan-out',
  row: 'F1',
  run: async (context) => {
    const product = await startProduct(context);
    const naive = await startNaive(context);
    const load = await startLoad(context);
    const figures: Figure[] = [];
    for (const readers of context.pick({ tiny: [1, 5], quick: [1, 100, 1000], full: [1, 100, 1000] })) {
      const ours: Round[] = [];
      const theirs: Round[] = [];
      for (let round = 0; round < context.pick({ tiny: 1, quick: 3, full: 5 }); round += 1) {
        ours.push(await burst(context, load, product, readers));
        theirs.push(await burst(context, load, naive, readers));
      }
      const what = `burst, ${readers} ${readers === 1 ? 'subscriber' : 'subscribers'}`;
      figures.push(
        {
          what: `${what}: deliveries`,
          unit: '/s',
          rounds: ours.map(({ perSecond }) => perSecond),
          beside: {
            name: naive.name,
            rounds: theirs.map(({ perSecond }) => perSecond),
            goal: readers === 1000 ? { atLeast: 8 } : undefined,
          },
        },
        {
          what: `${what}: server CPU per delivery`,
          unit: 'us',
          rounds: ours.map(({ cpu }) => cpu),
          beside: { name: naive.name, rounds: theirs.map(({ cpu }) => cpu) },
        },
      );
    }
    return figures;
  },
};
