import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { watchKeyFile } from './key-file.ts';

test('a key is read again when its file changes, and kept while there is none', () => {
  const path = join(tempDir(), 'key');
  writeFileSync(path, 'one\n');
  const troubles: unknown[] = [];
  const key = watchKeyFile(path, 'one', (error) => troubles.push(error));
  expect(key()).toBe('one');
  writeFileSync(path, 'two, longer\n');
  expect(key()).toBe('two, longer');
  // As in the middle of being written.
  writeFileSync(path, '');
  expect(key()).toBe('two, longer');
  rmSync(path);
  expect([key(), key()]).toEqual(['two, longer', 'two, longer']);
  expect(troubles).toHaveLength(1);
  writeFileSync(path, 'six');
  expect(key()).toBe('six');
});

test('a mounted Secret moves its links', () => {
  const folder = tempDir();
  for (const [name, text] of [
    ['..1', 'old'],
    ['..2', 'new'],
  ] as const) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'key'), text);
  }
  symlinkSync('..1', join(folder, '..data'));
  symlinkSync(join('..data', 'key'), join(folder, 'key'));
  const key = watchKeyFile(join(folder, 'key'), 'old', () => undefined);
  expect(key()).toBe('old');
  symlinkSync('..2', join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  expect(key()).toBe('new');
});
