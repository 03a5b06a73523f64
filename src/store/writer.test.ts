import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { outputEvent, parseFrames, raw, runRow, testStore } from '../../test/support/store.ts';
import { tempDir } from '../../test/support/temp.ts';
import type { CommittedFrames, NewEvent, Tx } from './store.ts';

const texts = (frames: Buffer) => parseFrames(frames).map(({ data }) => data);
const all = { after: 0, limit: 10_000 };

function batch(count: number, event: (index: number) => Partial<NewEvent>): NewEvent[] {
  return Array.from({ length: count }, (_, index) => outputEvent(event(index)));
}

test('all jobs of a turn are one commit, in their order, published once per run', async () => {
  const store = testStore();
  const commits: (readonly CommittedFrames[])[] = [];
  store.onCommit((committed) => commits.push(committed));
  await Promise.all([
    store.write({ events: [outputEvent({ data: '"a"' }), outputEvent({ data: '"b"' })] }),
    store.write({ events: [outputEvent({ run: 2, data: '"other"' })] }),
    store.write({ events: [outputEvent({ data: '"c"' })] }),
  ]);
  expect(commits).toHaveLength(1);
  const [first, second] = commits[0] ?? [];
  expect(first).toMatchObject({ run: 1, firstId: 1, lastId: 4, count: 3 });
  expect(second).toMatchObject({ run: 2, firstId: 3, lastId: 3, count: 1 });
  expect(first?.frames.equals(store.readFrames(1, all).frames)).toBe(true);
  expect(texts(store.readFrames(1, all).frames)).toEqual(['"a"', '"b"', '"c"']);
  expect(store.lastId()).toBe(4);
});

test('what is published is committed: another connection sees it', async () => {
  const store = testStore();
  const other = testStore({ path: store.path });
  let seen = 0;
  store.onCommit(() => {
    seen = other.readFrames(1, all).count;
  });
  await store.write({ events: [outputEvent()] });
  expect(seen).toBe(1);
});

test('a job that throws is rolled back and rejected alone, with and without within', async () => {
  const store = testStore();
  const published: string[] = [];
  store.onCommit((committed) => published.push(...committed.flatMap(({ frames }) => texts(frames))));
  const boom = new Error('boom');
  // What no type allows, and SQLite refuses (STRICT).
  const bad = outputEvent({ data: '"bad"', variation: 'no number' as unknown as number });
  const results = await Promise.allSettled([
    store.write({ events: [outputEvent({ data: '"a"' })] }),
    store.write({
      events: [outputEvent({ data: '"never"' })],
      within: (tx, emit) => {
        tx.run(store.db.insertInto('runs').values(runRow('neverthere')));
        emit(outputEvent({ data: '"never"' }));
        throw boom;
      },
    }),
    store.write({ events: [outputEvent({ data: '"undone"' }), bad] }),
    store.write({ events: [...batch(40, () => ({ data: '"undone"' })), bad], within: () => 1 }),
    store.write({ events: [outputEvent({ data: '"b"' })], within: () => 'value' }),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected', 'fulfilled']);
  expect(results[1]).toMatchObject({ reason: boom });
  expect(results[4]).toMatchObject({ value: 'value' });
  expect(published).toEqual(['"a"', '"b"']);
  expect(parseFrames(store.readFrames(1, all).frames).map(({ id }) => id)).toEqual([1, 2]);
  expect(store.query(raw('SELECT * FROM runs'))).toEqual([]);
});

test('within reads and writes in the transaction; emitted events come after the job’s own', async () => {
  const store = testStore();
  const no = await store.write({
    events: [outputEvent({ data: '"own"' })],
    within: (tx, emit) => {
      emit(outputEvent({ data: '"emitted"', type: 'run_status', variation: null }));
      const { lastInsertRowid, changes } = tx.run(store.db.insertInto('runs').values(runRow('first')));
      expect(changes).toBe(1);
      expect(tx.all(store.db.selectFrom('runs').select('id'))).toEqual([{ id: 'first' }]);
      return lastInsertRowid;
    },
  });
  expect(no).toBe(1);
  expect(texts(store.readFrames(1, all).frames)).toEqual(['"own"', '"emitted"']);
});

test('an event that was delivered before is skipped, alone and in the middle of a large batch', async () => {
  const store = testStore();
  const counts: number[] = [];
  store.onCommit((committed) => counts.push(...committed.map(({ count }) => count)));
  const delivered = batch(100, (index) => ({ attempt: 7, seq: index + 1, data: String(index + 1) }));
  const first = delivered.filter((_, index) => index % 10 === 3 || index > 96);
  await store.write({ events: first });
  await store.write({ events: delivered });
  await store.write({ events: delivered });
  await store.write({ events: [delivered[5] as NewEvent] });
  const rows = store.readRows(1, all);
  expect(rows.map(({ data }) => Number(data)).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 100 }, (_, i) => i + 1),
  );
  expect(rows.slice(first.length).map(({ data }) => Number(data))).toEqual(
    delivered.filter((event) => !first.includes(event)).map(({ seq }) => seq),
  );
  expect(counts).toEqual([first.length, 100 - first.length]);
  expect(new Set(rows.map(({ id }) => id)).size).toBe(100);
});

test('the same seq of another attempt, and events without a seq, are no duplicates', async () => {
  const store = testStore();
  const event = outputEvent({ attempt: 1, seq: 1 });
  await store.write({
    events: [
      event,
      { ...event, attempt: 2 },
      outputEvent(),
      outputEvent(),
      { ...event, seq: null },
      { ...event, seq: null },
    ],
  });
  expect(store.readFrames(1, all).count).toBe(6);
});

test('ids rise over runs, jobs, failures and reopening, and are never given twice', async () => {
  const path = join(tempDir(), 'ids.db');
  const seen: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const store = testStore({ path });
    store.onCommit((committed) => {
      const ids = committed.flatMap(({ frames }) => parseFrames(frames).map(({ id }) => id));
      seen.push(...ids.toSorted((a, b) => a - b));
    });
    const jobs = Array.from({ length: 30 }, (_, job) =>
      store.write({
        events: batch((job * 7) % 45, (index) => ({
          run: 1 + (index % 3),
          attempt: round + 1,
          seq: job * 100 + (index % 40),
        })),
        ...(job % 5 === 0
          ? {
              within: () => {
                if (job === 10) throw new Error('no');
              },
            }
          : {}),
      }),
    );
    await Promise.allSettled(jobs);
    await store.close();
  }
  expect(seen.length).toBeGreaterThan(1000);
  expect(seen).toEqual([...new Set(seen)].toSorted((a, b) => a - b));
  const store = testStore({ path });
  expect(store.lastId()).toBe(seen.at(-1));
  await store.write({ events: [outputEvent()] });
  expect(store.range(1)?.last).toBe((seen.at(-1) ?? 0) + 1);
});

test('a large queue is several commits, with turns of the event loop between them', async () => {
  const store = testStore();
  const turns: number[] = [];
  let turn = 0;
  const count = () => {
    turn += 1;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  store.onCommit(() => turns.push(turn));
  const jobs = Array.from({ length: 60 }, () => store.write({ events: batch(200, () => ({})) }));
  jobs.push(store.write({ events: batch(9000, () => ({})) }));
  await Promise.all(jobs);
  clearImmediate(next);
  expect(store.readFrames(1, { after: 0, limit: 50_000 }).count).toBe(21_000);
  expect(turns).toHaveLength(4);
  expect(new Set(turns).size).toBe(4);
});

test('a batch gives one buffer to all, and one per variation with the run’s own events', async () => {
  const store = testStore();
  const got: CommittedFrames[] = [];
  store.onCommit((committed) => got.push(...committed));
  await store.write({
    events: [0, null, 1, 0].map((variation, index) => outputEvent({ variation, data: String(index) })),
  });
  await store.write({ events: [outputEvent({ variation: 1 }), outputEvent({ variation: null })] });
  const [mixed, single] = got;
  expect(mixed?.variations).toEqual(new Set([0, null, 1]));
  expect(mixed?.frames).toBe(mixed?.frames);
  expect(mixed?.of(0)).toBe(mixed?.of(0));
  expect(texts(mixed?.of(0) ?? Buffer.alloc(0))).toEqual(['0', '1', '3']);
  expect(texts(mixed?.of(1) ?? Buffer.alloc(0))).toEqual(['1', '2']);
  expect(texts(mixed?.of(9) ?? Buffer.alloc(0))).toEqual(['1']);
  expect(single?.of(1)).toBe(single?.frames);
});

test('a listener that throws is reported, and neither the writer nor the other listeners notice', async () => {
  const report = vi.fn<(error: unknown) => void>();
  const store = testStore({ report });
  const boom = new Error('listener');
  const heard = vi.fn<() => void>();
  const stop = store.onCommit(() => {
    throw boom;
  });
  const stopHearing = store.onCommit(heard);
  await store.write({ events: [outputEvent()] });
  expect(report).toHaveBeenCalledExactlyOnceWith(boom);
  expect(heard).toHaveBeenCalledOnce();
  stop();
  stopHearing();
  await store.write({ events: [outputEvent()] });
  await store.write({ within: () => 1 });
  expect(report).toHaveBeenCalledOnce();
  expect(heard).toHaveBeenCalledOnce();
});

test('a listener may write: it joins the next commit', async () => {
  const store = testStore();
  let echoed: Promise<void> | undefined;
  store.onCommit(() => {
    echoed ??= store.write({ events: [outputEvent({ data: '"echo"' })] });
  });
  await store.write({ events: [outputEvent({ data: '"call"' })] });
  await echoed;
  expect(texts(store.readFrames(1, all).frames)).toEqual(['"call"', '"echo"']);
});

test('faults of the caller are refused: a promise, a transaction used later, too many emitted events', async () => {
  const store = testStore();
  await expect(
    store.write({
      within: async (tx) => {
        tx.run(store.db.insertInto('runs').values(runRow('lost')));
        throw new Error('after the commit');
      },
    }),
  ).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('synchronous') });
  const kept: Tx[] = [];
  await store.write({ within: (tx) => void kept.push(tx) });
  const select = store.db.selectFrom('runs').select('no');
  expect(() => kept[0]?.all(select)).toThrow('after it had ended');
  expect(() => kept[0]?.run(store.db.deleteFrom('runs'))).toThrow('after it had ended');
  const many = store.write({
    within: (_, emit) => {
      for (let n = 0; n < 1025; n += 1) emit(outputEvent());
    },
  });
  await expect(many).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('1025') });
  expect(store.readFrames(1, all).count).toBe(0);
  expect(store.query(select)).toEqual([]);
});

test('close commits what waits, refuses what comes later, and leaves no WAL', async () => {
  const path = join(tempDir(), 'close.db');
  const store = testStore({ path });
  const waiting = Array.from({ length: 50 }, () => store.write({ events: batch(200, () => ({})) }));
  const closed = store.close();
  await expect(store.write({ events: [outputEvent()] })).rejects.toMatchObject({ code: 'shutting_down' });
  await Promise.all(waiting);
  await closed;
  expect(store.close()).toBe(store.close());
  expect(() => store.readFrames(1, all)).toThrow(expect.objectContaining({ code: 'shutting_down' }));
  await expect(store.db.selectFrom('runs').selectAll().execute()).rejects.toMatchObject({ code: 'shutting_down' });
  expect(testStore({ path }).readFrames(1, { after: 0, limit: 20_000 }).count).toBe(10_000);
});
