import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchCase, BenchContext, Figure } from '../bench-case.ts';
import { startLoad } from '../harness/under-load.ts';
import { makeWorkshop, sampleLine } from '../harness/workshop.ts';
import type { JournalWriter } from '../load/journal-writer.ts';
import type { HouseServer } from '../servers/house.ts';
import type { StreamServer } from '../servers/stream.ts';

/**
 * Events a second from an agent to a reader, committed on the way, counted by the reader between the first 2 % and the end.
 * The server is not pinned: it shares both cores with recorder and agent, as it does at a user's.
 */

const TIMEOUT_MS = 60_000;

interface Round {
  perSecond: number;
  /** CPU of the server per event (us), its start left out. */
  cpu: number;
}

type Synchronous = 'normal' | 'full';

/** The real agent, recorder and journal. */
async function throughRecorder(context: BenchContext, lines: number, synchronous: Synchronous): Promise<Round> {
  const folder = context.folder();
  const flood = join(folder, 'lines.ndjson');
  writeFileSync(flood, sampleLine().repeat(lines));
  const { repository, settings } = makeWorkshop(folder, flood);
  const house = await context.start<HouseServer>(new URL('../servers/house.ts', import.meta.url), { profiled: true });
  const url = await house.call('open', { home: folder, settings: { ...settings, synchronous } });
  const response = await fetch(`${url}/api/v1/runs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ repository, prompt: 'Talk.', agent: 'flood', variations: 1 }),
  });
  const { run_id: runId } = (await response.json()) as { run_id: string };
  const name = `recorder, ${synchronous}`;
  const round = await read(
    context,
    { mark: () => house.call('mark'), used: () => house.call('used') },
    { url, runId, lines, name },
  );
  const attempt = await ended(url, runId);
  context.check(
    attempt.log_complete === true && attempt.gaps.length === 0 && attempt.last_seq >= lines,
    `${name}: the log is not complete: ${JSON.stringify(attempt)}`,
  );
  await house.close();
  return round;
}

/** A journal that is written faster than it can be read: the server's side alone. */
async function throughFollower(context: BenchContext, lines: number, synchronous: Synchronous): Promise<Round> {
  const folder = context.folder();
  const journal = join(folder, 'journal.ndjson');
  writeFileSync(journal, '');
  const writer = await context.start<JournalWriter>(new URL('../load/journal-writer.ts', import.meta.url));
  const attempt = randomUUID();
  await writer.call('prepare', { attempt, lines });
  const server = await context.start<StreamServer>(new URL('../servers/stream.ts', import.meta.url), {
    profiled: true,
  });
  const { url } = await server.call('open', { folder, synchronous });
  const runId = await server.call('follow', { journal, attempt });
  const write = () => writer.call('write', { path: journal });
  const name = `follower, ${synchronous}`;
  const round = await read(
    context,
    { mark: () => server.call('mark'), used: () => server.call('used') },
    { url, runId, lines, name, write },
  );
  context.check(await server.call('followed'), `${name}: the log is not complete`);
  await writer.close();
  await server.close();
  return round;
}

interface Reading {
  url: string;
  runId: string;
  lines: number;
  name: string;
  /** Lets the events come, once there is a reader. */
  write?: () => Promise<void>;
}

async function read(
  context: BenchContext,
  server: { mark: () => Promise<void>; used: () => Promise<{ cpuUs: number }> },
  { url, runId, lines, name, write }: Reading,
): Promise<Round> {
  const load = await startLoad(context);
  const first = Math.ceil(lines / 50);
  await server.mark();
  await load.call('open', { url, path: `/api/v1/runs/${runId}/stream`, count: 1, marks: [first, lines] });
  await write?.();
  const report = await load.call('reached', { seq: lines, timeoutMs: TIMEOUT_MS });
  const { cpuUs } = await server.used();
  await load.close();
  for (const violation of report.violations) context.check(false, `${name}: ${violation}`);
  const [from, to] = report.marks.map(({ at }) => at ?? Number.NaN);
  return { perSecond: (lines - first) / (((to ?? Number.NaN) - (from ?? Number.NaN)) / 1000), cpu: cpuUs / lines };
}

interface Attempt {
  log_complete: boolean | null;
  gaps: unknown[];
  last_seq: number;
}

/** The attempt as it ended: the hash over all that the recorder wrote is checked by the server. */
async function ended(url: string, runId: string): Promise<Attempt> {
  for (let wait = 0; wait < TIMEOUT_MS; wait += 20) {
    const run = (await (await fetch(`${url}/api/v1/runs/${runId}`)).json()) as {
      ended_at: string | null;
      variations: { attempts: Attempt[] }[];
    };
    const attempt = run.variations[0]?.attempts[0];
    if (run.ended_at !== null && attempt !== undefined) return attempt;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('the run did not end');
}

export const ingest: BenchCase = {
  name: 'ingest',
  row: 'I1',
  run: async (context) => {
    const lines = context.pick({ tiny: 2000, quick: 100_000, full: 400_000 });
    const figures: Figure[] = [];
    for (const synchronous of ['normal', 'full'] as const) {
      const rounds = context.pick({ tiny: 1, quick: synchronous === 'normal' ? 3 : 2, full: 5 });
      const whole: Round[] = [];
      const server: Round[] = [];
      for (let round = 0; round < rounds; round += 1) {
        whole.push(await throughRecorder(context, lines, synchronous));
        server.push(await throughFollower(context, lines, synchronous));
      }
      const goal = { atLeast: synchronous === 'normal' ? 80_000 : 40_000 };
      const alone = { name: 'journal to reader alone', rounds: server.map(({ perSecond }) => perSecond) };
      figures.push(
        {
          what: `agent's stdout to one reader, synchronous=${synchronous}`,
          unit: 'events/s',
          rounds: whole.map(({ perSecond }) => perSecond),
          goal,
          beside: alone,
        },
        {
          what: `journal to one reader (no recorder), synchronous=${synchronous}`,
          unit: 'events/s',
          rounds: alone.rounds,
        },
        {
          what: `journal to one reader: server CPU per event, synchronous=${synchronous}`,
          unit: 'us',
          rounds: server.map(({ cpu }) => cpu),
        },
      );
    }
    return figures;
  },
};
