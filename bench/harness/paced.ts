import type { BenchContext } from '../bench-case.ts';
import type { Load } from '../load/main.ts';
import type { Child } from './child.ts';
import { judge, type UnderLoad } from './under-load.ts';

/** Paced events: the time from a server's append (the product commits first) to the reader's read, of every delivery. */

export interface Pace {
  readers: number;
  perSecond: number;
  events: number;
  /** Before it is measured: a fresh server needs some thousand events before its p99 means anything. */
  warm: { perSecond: number; events: number };
}

export interface PacedRound {
  /** Milliseconds. */
  p50: number;
  p99: number;
  /** CPU of the server: cores, and microseconds per delivery. */
  cores: number;
  cpuPerDelivery: number;
}

const REACH_MS = 30_000;

export async function measurePaced(
  context: BenchContext,
  load: Child<Load>,
  server: UnderLoad,
  { readers, perSecond, events, warm }: Pace,
): Promise<PacedRound> {
  const target = await server.target();
  await load.call('open', { ...target, count: readers });
  const warmed = await server.pace(warm);
  await load.call('reached', { seq: warmed.seq, timeoutMs: REACH_MS });
  await load.call('time');
  const sent = await server.pace({ perSecond, events });
  const report = await load.call('reached', { seq: sent.seq, timeoutMs: REACH_MS });
  await load.call('close');
  judge(context, `${server.name}, ${readers} x ${perSecond}/s`, report, sent.seq * readers);
  return {
    p50: report.latencies.p50,
    p99: report.latencies.p99,
    cores: sent.cpuUs / 1000 / sent.ms,
    cpuPerDelivery: sent.cpuUs / (events * readers),
  };
}

/** Rounds of two servers, in turn, so that what disturbs the machine disturbs both. */
export async function measureBoth(
  context: BenchContext,
  load: Child<Load>,
  servers: readonly [UnderLoad, UnderLoad],
  pace: Pace,
  rounds: number,
): Promise<[PacedRound[], PacedRound[]]> {
  const results: [PacedRound[], PacedRound[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    results[0].push(await measurePaced(context, load, servers[0], pace));
    results[1].push(await measurePaced(context, load, servers[1], pace));
  }
  return results;
}
