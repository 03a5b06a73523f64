import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import type { Acks } from './acks.ts';
import { sampleEvents, type SampleEvent } from './sample-event.ts';

/** Where events come from, inside the server that is measured: the same for the product and for its peers. */

/** Takes events as that server's writers do. */
export type Append = (events: readonly SampleEvent[]) => Promise<void> | void;

/** What the server itself saw. */
export interface Sent {
  events: number;
  /** The seq of the last one. */
  seq: number;
  ms: number;
  /** CPU of the whole server process, all its threads. Microseconds. */
  cpuUs: number;
}

export interface Source {
  /** As many as fit in `windowEvents` that not all readers have yet, for `ms`; ends when all readers have all. */
  burst(options: { windowEvents: number; ms: number; maxEvents: number }): Promise<Sent>;
  /** So many a second, whatever the readers do. */
  pace(options: { perSecond: number; events: number }): Promise<Sent & { memory: Memory }>;
}

/** Resident memory of the server, bytes. */
export interface Memory {
  before: number;
  peak: number;
  after: number;
}

const STANDSTILL_MS = 20_000;

export function createSource(append: Append, acks: Acks): Source {
  let seq = 0;
  const send = async (count: number) => {
    const events = sampleEvents(seq + 1, count);
    seq += count;
    await append(events);
  };
  return {
    burst: async ({ windowEvents, ms, maxEvents }) => {
      const meter = startMeter();
      const first = seq;
      const end = performance.now() + ms;
      for (;;) {
        const isOpen = performance.now() < end && seq - first < maxEvents;
        const room = windowEvents - (seq - acks.seq);
        if (isOpen && room > 0) await send(room);
        else if (!isOpen && acks.seq >= seq) break;
        else await acks.moved(STANDSTILL_MS);
      }
      return { events: seq - first, seq, ...meter.stop() };
    },
    pace: async ({ perSecond, events }) => {
      const meter = startMeter();
      const before = process.memoryUsage.rss();
      let peak = before;
      const watch = setInterval(() => {
        peak = Math.max(peak, process.memoryUsage.rss());
      }, 50);
      const start = performance.now();
      for (let sent = 0; sent < events;) {
        const due = Math.min(events, Math.floor(((performance.now() - start) * perSecond) / 1000) + 1);
        if (due > sent) await send(due - sent);
        sent = Math.max(sent, due);
        await wait(1);
      }
      clearInterval(watch);
      const after = process.memoryUsage.rss();
      return { events, seq, ...meter.stop(), memory: { before, peak: Math.max(peak, after), after } };
    },
  };
}

/** Time and CPU of this process from now on. */
export function startMeter(): { stop(): { ms: number; cpuUs: number } } {
  const start = performance.now();
  const used = process.cpuUsage();
  return {
    stop: () => {
      const { user, system } = process.cpuUsage(used);
      return { ms: performance.now() - start, cpuUs: user + system };
    },
  };
}

/** How long the event loop was blocked at most (ms), since the last call. */
export function watchLoop(): () => number {
  const resolution = 1;
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  return () => {
    // The histogram holds the time between two ticks of a timer, the timer's own time included.
    const worst = Math.max(0, delay.max / 1e6 - resolution);
    delay.reset();
    return worst;
  };
}
