import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { outputEvent, raw, testStore } from '../../test/support/store.ts';
import { tempDir } from '../../test/support/temp.ts';

test('after a power cut that took the last commits, none of the ids that readers saw is given again', async () => {
  const store = testStore();
  await store.write({ events: [outputEvent()] });
  // What the disk holds if nothing after the first commit reached it.
  const path = join(tempDir(), 'after.db');
  copyFileSync(store.path, path);
  copyFileSync(`${store.path}-wal`, `${path}-wal`);
  for (let n = 0; n < 20; n += 1) await store.write({ events: Array.from({ length: 1000 }, () => outputEvent()) });
  // Ids are set aside in time: a copy taken now knows more.
  const later = join(tempDir(), 'later.db');
  copyFileSync(store.path, later);
  copyFileSync(`${store.path}-wal`, `${later}-wal`);
  const seen = store.lastId();
  expect(seen).toBe(20_001);

  const first = testStore({ path });
  await first.write({ events: [outputEvent({ run: 2 })] });
  expect(first.range(1)).toEqual({ first: 1, last: 1 });
  expect(first.range(2)?.first).toBeGreaterThan(16_384);

  const second = testStore({ path: later });
  expect(second.lastId()).toBeGreaterThanOrEqual(seen);
  await second.write({ events: [outputEvent({ run: 2 })] });
  expect(second.range(2)?.first).toBeGreaterThan(seen);
});

test('ids do not depend on what is left in the log: deleting the newest run gives none of them back', async () => {
  const path = join(tempDir(), 'deleted.db');
  const store = testStore({ path });
  await store.write({ events: [outputEvent(), outputEvent({ run: 2 })] });
  await store.deleteRun(2);
  await store.close();
  const again = testStore({ path });
  await again.write({ events: [outputEvent({ run: 3 })] });
  expect(again.range(3)).toEqual({ first: 3, last: 3 });
});

test('when the ids are used up, writes with events fail and the others go on', async () => {
  const path = join(tempDir(), 'used.db');
  const store = testStore({ path });
  await store.close();
  const last = testStore({ path });
  last.query(raw(`UPDATE event_ids SET ceiling = ${2 ** 32 - 100} RETURNING ceiling`));
  // What a crash leaves: the store has not settled its own.
  const copy = join(tempDir(), 'copy.db');
  copyFileSync(path, copy);
  copyFileSync(`${path}-wal`, `${copy}-wal`);
  const full = testStore({ path: copy });
  await expect(full.write({ events: [outputEvent()] })).rejects.toMatchObject({
    code: 'internal',
    message: expect.stringContaining('4294967295'),
  });
  expect(full.range(1)).toBeNull();
});
