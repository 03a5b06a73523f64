import { expect, test } from 'vitest';
import { raw, runRow, testStore } from '../../test/support/store.ts';

test('Kysely reads, writes and streams over the store’s connection', async () => {
  const { db } = testStore();
  for (const id of ['a', 'b', 'c']) {
    const result = await db.insertInto('runs').values(runRow(id)).executeTakeFirstOrThrow();
    expect(result.numInsertedOrUpdatedRows).toBe(1n);
  }
  const inserted = await db.insertInto('runs').values(runRow('d')).returning('no').executeTakeFirstOrThrow();
  expect(inserted.no).toBe(4);
  expect(await db.selectFrom('runs').select('id').where('no', 'in', [1, 3]).orderBy('no').execute()).toEqual([
    { id: 'a' },
    { id: 'c' },
  ]);
  const streamed: string[] = [];
  for await (const { id } of db.selectFrom('runs').select('id').orderBy('no', 'desc').stream()) streamed.push(id);
  expect(streamed).toEqual(['d', 'c', 'b', 'a']);
  expect((await db.deleteFrom('runs').where('no', '>', 2).executeTakeFirstOrThrow()).numDeletedRows).toBe(2n);
});

test('transactions of others are refused, and the connection is as before', async () => {
  const store = testStore();
  const attempt = store.db.transaction().execute((trx) => trx.insertInto('runs').values(runRow('a')).execute());
  await expect(attempt).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('store.write') });
  await store.write({ within: (tx) => void tx.run(store.db.insertInto('runs').values(runRow('b'))) });
  expect(store.query(store.db.selectFrom('runs').select('id'))).toEqual([{ id: 'b' }]);
});

test('closing Kysely leaves the store open', async () => {
  const store = testStore();
  await store.db.selectFrom('runs').selectAll().execute();
  await store.db.destroy();
  expect(store.range(1)).toBeNull();
});

test('statements beyond the cache’s size are prepared anew and give the same', () => {
  const store = testStore();
  for (const round of [1, 2]) {
    for (let n = 0; n < 600; n += 1) expect(store.query(raw(`SELECT ${n} AS n`))).toEqual([{ n }]);
    expect(round).toBeLessThan(3);
  }
});
