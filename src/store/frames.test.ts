import { expect, test } from 'vitest';
import { frameOf } from '../contract/event.ts';
import { outputEvent, parseFrames, raw, testStore } from '../../test/support/store.ts';
import type { Store } from './store.ts';

async function pages(
  store: Store,
  run: number,
  limit: number,
  variation?: number,
): Promise<{ bytes: Buffer; counts: number[] }> {
  const parts: Buffer[] = [];
  const counts: number[] = [];
  for (let after = 0; ;) {
    const page = store.readFrames(run, { after, limit, ...(variation === undefined ? {} : { variation }) });
    if (page.count === 0) {
      expect(page).toEqual({ frames: Buffer.alloc(0), count: 0, lastId: after });
      return { bytes: Buffer.concat(parts), counts };
    }
    expect(page.lastId).toBeGreaterThan(after);
    parts.push(page.frames);
    counts.push(page.count);
    after = page.lastId;
  }
}

test('pages give back the exact bytes in order, whatever the characters and the page size', async () => {
  const store = testStore();
  const data = [
    '"ä€𝄞"',
    '"\u2028\u0000"',
    '"مرحبا 👩‍👩‍👧"',
    `"${'日本'.repeat(500)}"`,
    '{"a":"\\n"}',
    '""',
    '"\'; DROP TABLE events; --"',
  ];
  const events = Array.from({ length: 230 }, (_, index) =>
    outputEvent({ data: data[index % data.length] ?? '', variation: index % 3 }),
  );
  const expected = Buffer.from(events.map((event, index) => frameOf(index + 1, event.type, event.data)).join(''));
  await store.write({ events });
  for (const limit of [1, 7, 100, 230, 1000]) {
    const { bytes, counts } = await pages(store, 1, limit);
    expect(bytes.equals(expected)).toBe(true);
    expect(counts[0]).toBe(Math.min(limit, 230));
  }
});

test('the variation filter leaves its own events and the run’s', async () => {
  const store = testStore();
  const of = (index: number) => (index % 4 === 3 ? null : index % 4);
  await store.write({
    events: Array.from({ length: 101 }, (_, index) => outputEvent({ data: String(index), variation: of(index) })),
  });
  const { bytes, counts } = await pages(store, 1, 10, 0);
  expect(parseFrames(bytes).map(({ data }) => Number(data))).toEqual(
    Array.from({ length: 101 }, (_, index) => index).filter((index) => of(index) === 0 || of(index) === null),
  );
  expect(counts).toEqual([10, 10, 10, 10, 10, 1]);
  expect(store.readRows(1, { after: 0, limit: 3, variation: 2 }).map(({ id }) => id)).toEqual([3, 4, 7]);
});

test('a run’s pages, rows and range hold nothing of its neighbours, whose ids lie between', async () => {
  const store = testStore();
  for (let n = 0; n < 9; n += 1) await store.write({ events: [outputEvent({ run: 1 + (n % 3), data: String(n) })] });
  expect(store.readRows(2, { after: 0, limit: 10 })).toEqual([
    { id: 2, type: 'agent_output', data: '1' },
    { id: 5, type: 'agent_output', data: '4' },
    { id: 8, type: 'agent_output', data: '7' },
  ]);
  expect(store.range(2)).toEqual({ first: 2, last: 8 });
  expect(store.range(4)).toBeNull();
  expect(store.readRows(2, { after: 5, limit: 10 }).map(({ id }) => id)).toEqual([8]);
  for (const after of [8, 2 ** 32, 2 ** 40]) expect(store.readFrames(2, { after, limit: 10 }).count).toBe(0);
  expect(store.readFrames(2, { after: -5, limit: 10 }).count).toBe(3);
  expect(store.readRows(2, { after: -(2 ** 33), limit: 10 })).toHaveLength(3);
});

test('a large frame is a page of its own, so that no page is larger than its small ones can make it', async () => {
  const store = testStore();
  const large = `"${'x'.repeat(20_000)}"`;
  const sizes = [5, large, 3, large, large, 2];
  const events = sizes.flatMap((size, place) =>
    typeof size === 'string'
      ? [outputEvent({ data: size, variation: place === 3 ? 1 : 0 })]
      : Array.from({ length: size }, () => outputEvent({ data: '1' })),
  );
  await store.write({ events });
  const { bytes, counts } = await pages(store, 1, 500);
  expect(counts).toEqual([5, 1, 3, 1, 1, 2]);
  expect(parseFrames(bytes).map(({ data }) => data)).toEqual(events.map(({ data }) => data));
  expect((await pages(store, 1, 500, 0)).counts).toEqual([5, 1, 3, 1, 2]);
  expect((await pages(store, 1, 500, 1)).counts).toEqual([1]);
});

test('a page is found by its key: nothing is scanned or sorted', async () => {
  const store = testStore();
  const plan = store.query(
    raw(
      `EXPLAIN QUERY PLAN SELECT group_concat(frame, '') FROM (SELECT key, frame FROM events WHERE key > 1 AND key < 9 ORDER BY key LIMIT 5)`,
    ),
  );
  const details = plan.map((row) => String(row['detail']));
  expect(details).toContainEqual(expect.stringContaining('SEARCH events USING INTEGER PRIMARY KEY'));
  expect(details.join()).not.toContain('TEMP B-TREE');
});
