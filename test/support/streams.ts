import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NewEvent } from '../../src/store/store.ts';
import type { TestDoor, TestRun } from './public-door.ts';

/** What tests of event streams have in common. */

export const pathOf = (run: TestRun, query = ''): string => `/api/v1/runs/${run.id}/stream${query}`;

/** Events of variations 0 to 2 and of the run, of different lengths. */
export function events(count: number, bytes = 40): Partial<NewEvent>[] {
  return Array.from({ length: count }, (_, at) => ({
    variation: at % 4 === 3 ? null : at % 4,
    data: JSON.stringify({ at, text: `${'x'.repeat((at * 7) % bytes)} \u{1f600}` }),
  }));
}

export function stored(door: TestDoor, run: TestRun, after = 0, variation?: number): Buffer {
  const chunks: Buffer[] = [];
  for (let cursor = after; ;) {
    const page = door.store.readFrames(run.no, {
      after: cursor,
      limit: 1000,
      ...(variation === undefined ? {} : { variation }),
    });
    if (page.count === 0) return Buffer.concat(chunks);
    chunks.push(page.frames);
    cursor = page.lastId;
  }
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

export const subscribed = (door: TestDoor, count: number): Promise<void> => until(() => door.streams.size === count);

export const turn = (): Promise<void> => nextTurn();
