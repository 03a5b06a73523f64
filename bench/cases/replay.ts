import type { BenchCase } from '../bench-case.ts';
import { startLoad, startProduct } from '../harness/under-load.ts';
import type { RowReplay } from '../peers/row-replay.ts';

const TIMEOUT_MS = 20_000;

/** A client that comes back and has missed everything: connecting, asking, and reading to the last event. */
export const replay: BenchCase = {
  name: 'replay',
  row: 'R1',
  run: async (context) => {
    const events = context.pick({ tiny: 1000, quick: 100_000, full: 100_000 });
    const product = await startProduct(context);
    const target = await product.target();
    await product.child.call('fill', { events });
    const peer = await context.start<RowReplay>(new URL('../peers/row-replay.ts', import.meta.url), { core: 0 });
    const url = await peer.call('open', { folder: context.folder(), events });
    const load = await startLoad(context);
    const ours: number[] = [];
    const theirs: number[] = [];
    const cpu: number[] = [];
    const rounds = context.pick({ tiny: 1, quick: 7, full: 15 });
    // One more than is counted: the first warms code and page cache.
    for (let round = 0; round <= rounds; round += 1) {
      await product.child.call('mark');
      const one = await load.call('replay', { ...target, seq: events, timeoutMs: TIMEOUT_MS });
      const { cpuUs } = await product.child.call('used');
      const other = await load.call('replay', { url, path: '/', seq: events, timeoutMs: TIMEOUT_MS });
      for (const violation of one.violations) context.check(false, `AIdeator, replay: ${violation}`);
      for (const violation of other.violations) context.check(false, `peer, replay: ${violation}`);
      if (round === 0) continue;
      ours.push(one.ms);
      cpu.push(cpuUs / 1000);
      theirs.push(other.ms);
    }
    return [
      {
        what: `replay of ${events.toLocaleString('en')} stored events`,
        unit: 'ms',
        rounds: ours,
        goal: { atMost: 150 },
        beside: { name: 'parse and stringify per row', rounds: theirs },
      },
      { what: 'of that: server CPU', unit: 'ms', rounds: cpu },
    ];
  },
};
