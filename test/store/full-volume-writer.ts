/**
 * Writes on a volume that gets full, and prints what became of it as JSON.
 * Started by full-volume.test.ts: `node full-volume-writer.ts <folder on a small volume>`.
 */
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '../../src/errors.ts';
import { openStore } from '../../src/store/database.ts';
import type { NewEvent } from '../../src/store/store.ts';

const [folder = ''] = process.argv.slice(2);
const path = join(folder, 'a.db');
const ballast = join(folder, 'ballast');
const codeOf = (error: unknown) => (error instanceof AppError ? error.code : String(error));

function leave(bytes: number): void {
  rmSync(ballast, { force: true });
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - bytes)));
}

function tryToOpen(): string {
  try {
    openStore(path);
    return 'opened';
  } catch (error) {
    return codeOf(error);
  }
}

let seq = 0;
function events(count: number): NewEvent[] {
  return Array.from({ length: count }, () => {
    seq += 1;
    return { run: 1, variation: 0, attempt: 1, seq, span: 1, type: 'agent_output', data: `"${'x'.repeat(300)}"` };
  });
}

const opening: Record<number, string> = {};
for (const bytes of [0, 8192, 65_536]) {
  leave(bytes);
  opening[bytes] = tryToOpen();
  for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true });
}

leave(700_000);
const store = openStore(path, { report: () => {} });
let published = 0;
store.onCommit((committed) => {
  for (const { count } of committed) published += count;
});
let acknowledged = 0;
const failures: Record<string, number> = {};
for (let turn = 0; turn < 50; turn += 1) {
  const jobs = [events(20), events(20)];
  const [plain = [], within = []] = jobs;
  const results = await Promise.allSettled([
    store.write({ events: plain }),
    store.write({ events: within, within: () => {} }),
  ]);
  for (const result of results) {
    if (result.status === 'fulfilled') acknowledged += 20;
    else failures[codeOf(result.reason)] = (failures[codeOf(result.reason)] ?? 0) + 1;
  }
}
const full = { acknowledged, published, stored: store.readRows(1, { after: 0, limit: 10_000 }).length, failures };

rmSync(ballast);
await store.write({ events: events(100) });
const goneOn = { stored: store.readRows(1, { after: 0, limit: 10_000 }).length };
leave(0);
await store.close();
const again = openStore(path, { report: () => {} });
const rows = again.readRows(1, { after: 0, limit: 10_000 });
const reopened = { stored: rows.length, ids: new Set(rows.map(({ id }) => id)).size };
process.stdout.write(JSON.stringify({ opening, full, goneOn, reopened }));
