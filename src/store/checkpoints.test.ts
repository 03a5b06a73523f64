import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { expect, test, vi } from 'vitest';
import { outputEvent, testStore } from '../../test/support/store.ts';
import { tempDir } from '../../test/support/temp.ts';
import { catchUp } from './checkpoint.ts';
import { Checkpoints } from './checkpoints.ts';
import { Statements } from './statements.ts';

const MB = 1024 * 1024;

function database(): { statements: Statements; write: (pages: number) => void; fileSize: () => number } {
  const path = join(tempDir(), 'wal.db');
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL; CREATE TABLE t (a)');
  const insert = db.prepare('INSERT INTO t VALUES (zeroblob(4000))');
  return {
    statements: new Statements(db, path),
    write(pages) {
      db.exec('BEGIN');
      for (let n = 0; n < pages; n += 1) insert.run();
      db.exec('COMMIT');
    },
    fileSize: () => statSync(path).size,
  };
}

test('under constant load the WAL stays short and everything reaches the database file', async () => {
  const report = vi.fn<(error: unknown) => void>();
  const store = testStore({ report });
  const data = `"${'x'.repeat(1000)}"`;
  let longest = 0;
  for (let n = 0; n < 800; n += 1) {
    await store.write({ events: Array.from({ length: 100 }, () => outputEvent({ data })) });
    longest = Math.max(longest, statSync(`${store.path}-wal`).size);
  }
  expect(statSync(store.path).size).toBeGreaterThan(20 * MB);
  expect(longest).toBeLessThan(75 * MB);
  expect(report).not.toHaveBeenCalled();
  await store.close();
  expect(statSync(store.path).size).toBeGreaterThan(80 * MB);
});

test('the thread is asked when enough was written, and what it did is in the file', async () => {
  const { statements, write, fileSize } = database();
  const report = vi.fn<(error: unknown) => void>();
  const checkpoints = new Checkpoints(statements, report);
  write(100);
  checkpoints.wrote(100);
  expect(fileSize()).toBeLessThan(100 * 4096);
  write(1000);
  checkpoints.wrote(1000);
  await vi.waitFor(() => expect(fileSize()).toBeGreaterThan(1000 * 4096), { timeout: 10_000 });
  await checkpoints.stop();
  expect(report).not.toHaveBeenCalled();
  statements.db.close();
});

test.each([
  ['dies', 'process.exit(3)'],
  ['throws', 'throw new Error("no")'],
  ['is not there', undefined],
])('when the thread %s, checkpoints are made in the process', async (_, source) => {
  const { statements, write, fileSize } = database();
  const report = vi.fn<(error: unknown) => void>();
  const file = join(tempDir(), 'worker.mjs');
  if (source !== undefined) writeFileSync(file, source);
  const checkpoints = new Checkpoints(statements, report, pathToFileURL(file));
  write(1000);
  checkpoints.wrote(1000);
  await vi.waitFor(() => expect(report).toHaveBeenCalled(), { timeout: 10_000 });
  expect(fileSize()).toBeLessThan(100 * 4096);
  checkpoints.wrote(1000);
  expect(fileSize()).toBeGreaterThan(1000 * 4096);
  await checkpoints.stop();
  expect(report).toHaveBeenCalledOnce();
  statements.db.close();
});

test('a thread that cannot even be made, and a checkpoint that fails, are reported and stop nothing', async () => {
  const { statements } = database();
  const report = vi.fn<(error: unknown) => void>();
  const checkpoints = new Checkpoints(statements, report, new URL('https://example.com/worker.js'));
  statements.db.close();
  checkpoints.wrote(5000);
  expect(report).toHaveBeenCalledTimes(2);
  await checkpoints.stop();
});

test('catching up moves everything, and the next write starts the WAL over', () => {
  const { statements, write } = database();
  write(300);
  const before = statSync(`${statements.path}-wal`).size;
  const { log, done } = catchUp(statements.db);
  expect(log).toBeGreaterThan(300);
  expect(done).toBe(log);
  write(100);
  expect(statSync(`${statements.path}-wal`).size).toBe(before);
  statements.db.close();
});
