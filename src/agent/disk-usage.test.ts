import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { until } from '../../test/support/until.ts';
import { measureDisk, watchDisk } from './disk-usage.ts';

const MIB = 1024 * 1024;

test('counts blocks of all files, each once, and which of them have names elsewhere', async () => {
  const root = tempDir();
  mkdirSync(join(root, 'a', 'b'), { recursive: true });
  writeFileSync(join(root, 'a', 'one'), Buffer.alloc(MIB, 1));
  writeFileSync(join(root, 'a', 'b', 'two'), Buffer.alloc(MIB, 2));
  linkSync(join(root, 'a', 'b', 'two'), join(root, 'a', 'again'));
  const { bytes, linked } = await measureDisk([root, join(root, 'missing')]);
  expect(bytes).toBeGreaterThanOrEqual(2 * MIB);
  expect(bytes).toBeLessThan(2.2 * MIB);
  expect(linked).toBeGreaterThanOrEqual(MIB);
  expect(linked).toBeLessThan(1.1 * MIB);
});

test('stops early where enough is found', async () => {
  const root = tempDir();
  for (const name of ['a', 'b', 'c']) {
    mkdirSync(join(root, name));
    writeFileSync(join(root, name, 'file'), Buffer.alloc(MIB, 1));
  }
  expect((await measureDisk([root], MIB / 2)).bytes).toBeLessThan(1.5 * MIB);
});

test('a big tree is walked in slices: other work goes on meanwhile', async () => {
  const root = tempDir();
  for (let n = 0; n < 3000; n += 1) writeFileSync(join(root, `${n}`), '');
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 0);
  for (let n = 0; n < 5; n += 1) await measureDisk(Array.from({ length: 10 }, () => root));
  clearInterval(timer);
  expect(turns).toBeGreaterThan(0);
});

test('what is shared with the mirror at the start is not counted, what comes is', async () => {
  const root = tempDir();
  const mirror = tempDir();
  writeFileSync(join(mirror, 'pack'), Buffer.alloc(3 * MIB, 1));
  linkSync(join(mirror, 'pack'), join(root, 'pack'));
  const told: number[] = [];
  let looks = 0;
  const watch = watchDisk({
    folders: [root],
    more: () => {
      looks += 1;
      return 1000;
    },
    maxBytes: MIB,
    onLimit: (bytes) => told.push(bytes),
    intervalMs: 5,
  });
  await until(() => looks > 2);
  expect(told).toEqual([]);
  writeFileSync(join(root, 'new'), Buffer.alloc(2 * MIB, 1));
  await until(() => told.length > 0);
  watch.stop();
  expect(told.length).toBe(1);
  expect(told[0]).toBeGreaterThanOrEqual(2 * MIB);
});
