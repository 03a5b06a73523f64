import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { outputEvent, raw, runRow, testStore } from '../../test/support/store.ts';
import { tempDir } from '../../test/support/temp.ts';
import { explainFailure } from './failures.ts';
import { migrate, versionOf } from './migrations.ts';
import type { Store } from './store.ts';

/** SQLite's own limit on the file: it answers a real SQLITE_FULL, at the same places as a full disk. */
function leavePages(store: Store, pages: number): void {
  const [{ page_count: used } = {}] = store.query(raw('PRAGMA page_count'));
  store.query(raw(`PRAGMA max_page_count = ${Number(used) + pages}`));
}

test('a write on a full disk is rejected as disk_full, nothing half-written, and the store goes on when there is space', async () => {
  const store = testStore();
  const published: number[] = [];
  store.onCommit((committed) => published.push(...committed.map(({ count }) => count)));
  await store.write({ events: [outputEvent({ attempt: 1, seq: 1 })] });
  leavePages(store, 20);
  const large = Array.from({ length: 1000 }, (_, index) =>
    outputEvent({ attempt: 1, seq: index + 2, data: `"${'x'.repeat(300)}"` }),
  );
  const results = await Promise.allSettled([
    store.write({ within: (tx) => void tx.run(store.db.insertInto('runs').values(runRow('small'))) }),
    store.write({ events: large }),
    store.write({ events: [outputEvent({ attempt: 2, seq: 1 })] }),
  ]);
  expect(results[1]).toMatchObject({
    status: 'rejected',
    reason: { code: 'disk_full', status: 507, hint: expect.stringContaining('Free space') },
  });
  for (const result of results)
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'disk_full' });
  const smallOnes = results.filter(({ status }) => status === 'fulfilled').length;
  expect(store.query(raw('SELECT count(*) AS n FROM events WHERE attempt = 1'))).toEqual([{ n: 1 }]);
  expect(store.query(raw('PRAGMA integrity_check'))).toEqual([{ integrity_check: 'ok' }]);
  expect(published.reduce((sum, count) => sum + count, 0)).toBe(store.readFrames(1, { after: 0, limit: 5000 }).count);

  leavePages(store, 100_000);
  await store.write({ events: large });
  await store.write({ events: [outputEvent({ attempt: 2, seq: 1 })] });
  expect(store.readFrames(1, { after: 0, limit: 5000 }).count).toBe(1002);
  expect(smallOnes).toBeLessThan(3);
});

test('a within that swallows the failure cannot write outside of the transaction', async () => {
  const store = testStore();
  leavePages(store, 5);
  const write = store.write({
    within: (tx) => {
      for (let n = 0; n < 100; n += 1) {
        try {
          tx.run(store.db.insertInto('runs').values({ ...runRow(`run ${n}`), prompt: 'x'.repeat(4000) }));
        } catch {
          // As a careless caller would.
        }
      }
    },
    events: [outputEvent()],
  });
  await expect(write).rejects.toMatchObject({ message: expect.stringMatching(/space|ended/) });
  expect(store.query(raw('SELECT id FROM runs'))).toEqual([]);
  expect(store.readFrames(1, { after: 0, limit: 10 }).count).toBe(0);
});

test('a database that has no room for the newest version says disk_full, and is as it was', () => {
  const path = join(tempDir(), 'small.db');
  using db = new DatabaseSync(path);
  db.exec('PRAGMA max_page_count = 5');
  let failure: unknown;
  try {
    migrate(db);
  } catch (error) {
    failure = explainFailure(error, path);
  }
  expect(failure).toMatchObject({ code: 'disk_full' });
  expect(versionOf(db)).toBe(0);
  expect(db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()).toEqual({ n: 0 });
});
