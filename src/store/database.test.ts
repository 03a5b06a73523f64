import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test, vi } from 'vitest';
import { outputEvent, raw, runRow, testStore } from '../../test/support/store.ts';
import { tempDir } from '../../test/support/temp.ts';
import { openStore } from './database.ts';
import { migrate, MIGRATIONS, newestVersion, versionOf } from './migrations.ts';

const NOBODY = 65_534;

/** A closed database with some events in it. */
async function filled(events = 3000): Promise<string> {
  const path = join(tempDir(), 'filled.db');
  const store = testStore({ path });
  await store.write({ events: Array.from({ length: events }, () => outputEvent({ data: `"${'x'.repeat(200)}"` })) });
  await store.close();
  return path;
}

/** As a user who owns nothing here: root may write everywhere. */
function asNobody<T>(action: () => T): T {
  if (process.getuid?.() !== 0) return action();
  process.seteuid?.(NOBODY);
  try {
    return action();
  } finally {
    process.seteuid?.(0);
  }
}

function failure(open: () => unknown): unknown {
  try {
    open();
  } catch (error) {
    return error;
  }
  return undefined;
}

test('a new database is made with its folder, in WAL mode, and has the newest version', async () => {
  const path = join(tempDir(), 'deep', 'er', 'new.db');
  const store = testStore({ path });
  expect(store.path).toBe(path);
  const pragma = (name: string) => Object.values(store.query(raw(`PRAGMA ${name}`))[0] ?? {})[0];
  expect(pragma('journal_mode')).toBe('wal');
  expect(pragma('synchronous')).toBe(1);
  expect(pragma('foreign_keys')).toBe(1);
  expect(pragma('user_version')).toBe(newestVersion(MIGRATIONS));
  expect(store.lastId()).toBe(0);
  await store.close();
  expect(readdirSync(join(path, '..'))).toEqual(['new.db']);
});

test('synchronous full is kept, also after ids were set aside', async () => {
  const store = testStore({ synchronous: 'full' });
  await store.write({ events: [outputEvent()] });
  expect(store.query(raw('PRAGMA synchronous'))).toEqual([{ synchronous: 2 }]);
});

test('an empty file becomes a database', () => {
  const path = join(tempDir(), 'empty.db');
  writeFileSync(path, '');
  expect(testStore({ path }).range(1)).toBeNull();
});

test('what was written is there after reopening', async () => {
  const path = await filled(10);
  const store = testStore({ path });
  expect(store.readFrames(1, { after: 0, limit: 100 }).count).toBe(10);
});

test.each([
  [
    'a damaged header',
    (path: string) =>
      writeFileSync(path, Buffer.concat([Buffer.from('not a database'), readFileSync(path).subarray(14)])),
  ],
  ['a file cut in the middle', (path: string) => truncateSync(path, 300_000 - (300_000 % 4096) + 100)],
  ['a file cut after its header', (path: string) => truncateSync(path, 4096)],
  ['pages overwritten', (path: string) => writeFileSync(path, readFileSync(path).fill(0xab, 40_960, 81_920))],
  ['a text file', (path: string) => writeFileSync(path, 'hello\n'.repeat(1000))],
  [
    'another program’s database',
    (path: string) => {
      writeFileSync(path, '');
      using db = new DatabaseSync(path);
      db.exec('CREATE TABLE theirs (a)');
    },
  ],
])('%s is database_corrupt, and nothing is changed', async (_, damage) => {
  const path = await filled();
  damage(path);
  const before = readFileSync(path);
  const error = failure(() => openStore(path));
  expect(error).toMatchObject({ code: 'database_corrupt', hint: expect.stringMatching(/backup.*move/) });
  expect(String(error)).toContain(path);
  expect(String(error)).toContain('Nothing was changed');
  expect(readFileSync(path).equals(before)).toBe(true);
  expect(readdirSync(join(path, '..'))).toEqual(['filled.db']);
});

test('damage in a database too large for a full check says so when it is met', async () => {
  const path = await filled(70_000);
  const bytes = readFileSync(path);
  expect(bytes.length).toBeGreaterThan(16 * 1024 * 1024);
  writeFileSync(path, bytes.fill(0xab, 4096 * 1000, 4096 * 1200));
  const store = testStore({ path });
  expect(failure(() => store.readFrames(1, { after: 0, limit: 60_000 }))).toMatchObject({ code: 'database_corrupt' });
  expect(failure(() => store.query(raw('SELECT sum(length(frame)) FROM events')))).toMatchObject({
    code: 'database_corrupt',
  });
});

test('damage to the first page of a table in a large database is found when it is opened', async () => {
  const path = await filled(70_000);
  const root = Number(
    new DatabaseSync(path, { readOnly: true })
      .prepare(`SELECT rootpage FROM sqlite_schema WHERE name = 'events'`)
      .get()?.['rootpage'],
  );
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.fill(0xab, 4096 * (root - 1), 4096 * root));
  expect(failure(() => openStore(path))).toMatchObject({ code: 'database_corrupt' });
});

test('a database of a newer program is refused with both versions, also when it was not closed in order', async () => {
  const path = await filled(5);
  const newer = newestVersion(MIGRATIONS) + 6;
  const db = new DatabaseSync(path);
  db.exec(`PRAGMA user_version = ${newer}`);
  const error = failure(() => openStore(path));
  db.close();
  expect(error).toMatchObject({ code: 'database_newer', details: { found: newer, newest: newestVersion(MIGRATIONS) } });
  expect(String(error)).toContain(`version ${newer}`);
  const before = readFileSync(path);
  expect(failure(() => openStore(path))).toMatchObject({
    code: 'database_newer',
    hint: expect.stringContaining('newer AIdeator'),
  });
  expect(readFileSync(path).equals(before)).toBe(true);
  expect(existsSync(`${path}-wal`)).toBe(false);
});

test('a place that cannot be written is data_dir_readonly', async () => {
  const folder = tempDir();
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const beneathFile = failure(() => openStore(join(file, 'a.db')));
  expect(beneathFile).toMatchObject({ code: 'data_dir_readonly', hint: expect.stringContaining(file) });
  mkdirSync(join(folder, 'folder.db'));
  expect(failure(() => openStore(join(folder, 'folder.db')))).toMatchObject({ code: 'data_dir_readonly' });

  chmodSync(folder, 0o555);
  expect(failure(() => asNobody(() => openStore(join(folder, 'b.db'))))).toMatchObject({ code: 'data_dir_readonly' });
  expect(failure(() => asNobody(() => openStore(join(folder, 'new', 'b.db'))))).toMatchObject({
    code: 'data_dir_readonly',
  });
  chmodSync(folder, 0o755);

  const path = await filled(5);
  const home = join(path, '..');
  chmodSync(path, 0o444);
  if (process.getuid?.() === 0) chownSync(home, NOBODY, NOBODY);
  expect(failure(() => asNobody(() => openStore(path)))).toMatchObject({ code: 'data_dir_readonly' });
  chmodSync(home, 0o555);
  expect(failure(() => asNobody(() => openStore(path)))).toMatchObject({ code: 'data_dir_readonly' });
  chmodSync(home, 0o755);
  chmodSync(path, 0o644);
  expect(testStore({ path }).range(1)).toEqual({ first: 1, last: 5 });
});

test('a database that another process holds is data_dir_locked', () => {
  const path = join(tempDir(), 'held.db');
  const holder = new DatabaseSync(path);
  holder.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE a (b)');
  expect(failure(() => openStore(path))).toMatchObject({ code: 'data_dir_locked' });
  holder.close();
});

test('migrations are applied once and in order; one that fails leaves the version before it', () => {
  using db = new DatabaseSync(join(tempDir(), 'migrate.db'));
  const steps: string[] = [];
  const known = newestVersion(MIGRATIONS);
  const second = {
    version: known + 1,
    name: 'second',
    up: (db: DatabaseSync) => {
      steps.push('second');
      db.exec('ALTER TABLE runs ADD COLUMN extra TEXT');
    },
  };
  const third = { version: known + 2, name: 'third', up: 'CREATE TABLE half (a); CREATE TABLE runs (a)' };
  migrate(db);
  expect(versionOf(db)).toBe(known);
  expect(() => migrate(db, [...MIGRATIONS, second, third])).toThrow('already exists');
  expect(versionOf(db)).toBe(known + 1);
  expect(db.isTransaction).toBe(false);
  expect(db.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'half'`).get()).toBeUndefined();
  migrate(db, [...MIGRATIONS, second]);
  expect(steps).toEqual(['second']);
});

test('the versions of the migrations count from 1 without gaps', () => {
  expect(MIGRATIONS.map(({ version }) => version)).toEqual(MIGRATIONS.map((_, index) => index + 1));
});

test('a run, its variations and attempts hang together; numbers are not reused', async () => {
  const store = testStore();
  const insert = (id: string) =>
    store.write({ within: (tx) => tx.run(store.db.insertInto('runs').values(runRow(id))).lastInsertRowid });
  expect(await insert('a')).toBe(1);
  await store.deleteRun(1);
  expect(await insert('b')).toBe(2);
  await expect(insert('b')).rejects.toThrow('UNIQUE');
  await expect(
    store.db.insertInto('choices').values({ run: 9, variation: 0, attempt: 1, reason: null, chosen_at: '' }).execute(),
  ).rejects.toThrow('FOREIGN KEY');
});

test('a close that cannot tidy up reports it and loses nothing; what is not there to be read fails at the start', async () => {
  const path = await filled(5);
  const report = vi.fn<(error: unknown) => void>();
  const store = testStore({ path, report });
  await store.write({ events: [outputEvent()] });
  store.query(raw('DROP TABLE event_ids'));
  await store.close();
  expect(report).toHaveBeenCalledExactlyOnceWith(
    expect.objectContaining({ message: expect.stringContaining('event_ids') }),
  );
  expect(failure(() => openStore(path))).toMatchObject({ message: expect.stringContaining('event_ids') });
  using db = new DatabaseSync(path);
  expect(db.prepare('SELECT count(*) AS n FROM events').get()).toEqual({ n: 6 });
});

test('without a place for reports, what fails in the background is a process warning', async () => {
  const warnings: string[] = [];
  const hear = (warning: Error) => void warnings.push(warning.message);
  process.on('warning', hear);
  onTestFinished(() => void process.off('warning', hear));
  const store = testStore();
  store.onCommit(() => {
    throw new Error('a listener of the test');
  });
  await store.write({ events: [outputEvent()] });
  await vi.waitFor(() => expect(warnings).toContain('a listener of the test'));
});
