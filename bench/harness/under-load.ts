import type { BenchContext } from '../bench-case.ts';
import type { Load } from '../load/main.ts';
import type { NaiveServer } from '../peers/naive-http.ts';
import type { StreamServer } from '../servers/stream.ts';
import type { Child } from './child.ts';
import type { Source } from './source.ts';

/** Servers that stream events of their own making, behind one face: the product and its peers. */
export interface UnderLoad extends Source {
  name: string;
  /** Begins a stream without events; what follows is said of this one. */
  target(): Promise<Target>;
}

export interface Target {
  url: string;
  path: string;
  ackPort: number;
}

/** The product: store and public door. */
export async function startProduct(context: BenchContext): Promise<UnderLoad & { child: Child<StreamServer> }> {
  const child = await context.start<StreamServer>(new URL('../servers/stream.ts', import.meta.url), {
    core: 0,
    profiled: true,
  });
  const { url, ackPort } = await child.call('open', { folder: context.folder(), synchronous: 'normal' });
  return {
    name: 'AIdeator',
    child,
    target: async () => ({ url, ackPort, path: `/api/v1/runs/${await child.call('run')}/stream` }),
    burst: (options) => child.call('burst', options),
    pace: (options) => child.call('pace', options),
  };
}

export async function startNaive(context: BenchContext): Promise<UnderLoad> {
  const child = await context.start<NaiveServer>(new URL('../peers/naive-http.ts', import.meta.url), { core: 0 });
  const { url, ackPort } = await child.call('open');
  return {
    name: 'naive node:http',
    target: async () => ({ url, ackPort, path: `/${await child.call('run')}` }),
    burst: (options) => child.call('burst', options),
    pace: (options) => child.call('pace', options),
  };
}

export function startLoad(context: BenchContext): Promise<Child<Load>> {
  return context.start<Load>(new URL('../load/main.ts', import.meta.url), { core: 1 });
}

/** What the load found, into the context: violations, and whether it was the load itself that was measured. */
export function judge(
  context: BenchContext,
  where: string,
  report: { deliveries: number; violations: readonly string[]; busy: number },
  expected: number,
): void {
  for (const violation of report.violations) context.check(false, `${where}: ${violation}`);
  context.check(report.deliveries === expected, `${where}: ${report.deliveries} deliveries instead of ${expected}`);
  if (report.busy > 0.9)
    context.say(`${where}: the load took ${report.busy.toFixed(2)} of its core, so this is its own limit too`);
}
