import { setTimeout as wait } from 'node:timers/promises';
import type { BenchCase, BenchContext, Figure } from '../bench-case.ts';
import type { Child } from '../harness/child.ts';
import { startLoad } from '../harness/under-load.ts';
import { makeWorkshop } from '../harness/workshop.ts';
import type { Load } from '../load/main.ts';
import type { Watched, WatchedVariation } from '../load/submission.ts';
import type { BareStart } from '../peers/bare-start.ts';
import type { HouseServer } from '../servers/house.ts';

/**
 * From the POST to the first byte that an agent printed, as the submitter reads it: the whole product, with an ACP agent that
 * is a shell script. Not pinned: git, recorders and agents share both cores with the server, as they do at a user's.
 */

const TIMEOUT_MS = 60_000;
/** Between two submissions: the server keeps a recorder ready and makes the next one a moment after it was used. */
const REST_MS = 1500;

interface Round extends Watched {
  blockedMs: number;
}

async function submit(
  context: BenchContext,
  { url, house, load, repository }: { url: string; house: Child<HouseServer>; load: Child<Load>; repository: string },
  variations: number,
): Promise<Round> {
  await wait(REST_MS);
  await house.call('mark');
  const watched = await load.call('submit', {
    url,
    body: { repository, prompt: 'Say it.', agent: 'echo', variations },
    timeoutMs: TIMEOUT_MS,
  });
  const { blockedMs } = await house.call('used');
  for (const violation of watched.violations) context.check(false, `start of ${variations}: ${violation}`);
  context.check(
    watched.status === 'completed' && watched.succeeded === variations,
    `start of ${variations}: ${watched.status}, ${watched.succeeded} succeeded`,
  );
  return { ...watched, blockedMs };
}

async function bare(context: BenchContext, load: Child<Load>, folder: string, repository: string, rounds: number) {
  const peer = await context.start<BareStart>(new URL('../peers/bare-start.ts', import.meta.url));
  const url = await peer.call('open', { folder, repository });
  const times: Record<'/spawn' | '/clone', number[]> = { '/spawn': [], '/clone': [] };
  for (let round = 0; round <= rounds; round += 1) {
    for (const path of ['/spawn', '/clone'] as const) {
      const ms = await load.call('firstByte', { url, path });
      if (round > 0) times[path].push(ms);
    }
  }
  return times;
}

export const start: BenchCase = {
  name: 'start',
  row: 'O1',
  run: async (context) => {
    const folder = context.folder();
    const { repository, settings } = makeWorkshop(folder);
    const house = await context.start<HouseServer>(new URL('../servers/house.ts', import.meta.url), { profiled: true });
    const url = await house.call('open', { home: folder, settings });
    const load = await startLoad(context);
    const subject = { url, house, load, repository };
    // The first makes the mirror and warms everybody's code.
    await submit(context, subject, 1);
    const one: Round[] = [];
    const ten: Round[] = [];
    const many = context.pick({ tiny: 2, quick: 10, full: 10 });
    for (let round = 0; round < context.pick({ tiny: 1, quick: 7, full: 25 }); round += 1) {
      one.push(await submit(context, subject, 1));
    }
    for (let round = 0; round < context.pick({ tiny: 1, quick: 3, full: 9 }); round += 1) {
      ten.push(await submit(context, subject, many));
    }
    const least = await bare(context, load, folder, repository, context.pick({ tiny: 1, quick: 9, full: 25 }));
    const only = (round: Round, name: keyof WatchedVariation) => round.variations[0]?.[name] ?? Number.NaN;
    const last = (round: Round, name: keyof WatchedVariation) =>
      Math.max(...round.variations.map((each) => each[name]));
    const blocked = (rounds: Round[]) => rounds.map(({ blockedMs }) => blockedMs);
    const split = (what: string, value: (round: Round) => number): Figure => ({
      what: `1 variation, of that: ${what}`,
      unit: 'ms',
      rounds: one.map(value),
    });
    return [
      {
        what: '1 variation: POST to first byte of the agent',
        unit: 'ms',
        rounds: one.map((round) => only(round, 'firstByte')),
        goal: { atMost: 6 },
        beside: { name: 'bare clone and spawn', rounds: least['/clone'] },
      },
      {
        what: '1 variation: POST to first event of the stream',
        unit: 'ms',
        rounds: one.map(({ firstEvent }) => firstEvent),
        beside: { name: 'bare spawn, no clone', rounds: least['/spawn'] },
      },
      split('the request (commit pinned, run stored)', ({ accepted }) => accepted),
      split('until the recorder says its first word', (round) => only(round, 'recorder') - round.accepted),
      split('workspace, agent started and spoken to', (round) => only(round, 'asked') - only(round, 'recorder')),
      split('its first byte', (round) => only(round, 'firstByte') - only(round, 'asked')),
      {
        what: '1 variation: POST to the first words of its turn',
        unit: 'ms',
        rounds: one.map((round) => only(round, 'firstWords')),
      },
      {
        what: `${many} variations: POST to first byte of the last`,
        unit: 'ms',
        rounds: ten.map((round) => last(round, 'firstByte')),
        goal: { atMost: 35 },
      },
      { what: '1 variation: longest block of the loop', unit: 'ms', rounds: blocked(one), goal: { atMost: 5 } },
      { what: `${many} variations: longest block of the loop`, unit: 'ms', rounds: blocked(ten), goal: { atMost: 5 } },
    ];
  },
};
