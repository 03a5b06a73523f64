import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AppError } from '../errors.ts';
import { tempDir } from '../../test/support/temp.ts';
import { explainFailure } from './failures.ts';

const sqlite = (errcode: number) => Object.assign(new Error('it failed'), { code: 'ERR_SQLITE_ERROR', errcode });

test.each([
  [11, 'database_corrupt'],
  [267, 'database_corrupt'],
  [26, 'database_corrupt'],
  [13, 'disk_full'],
  [8, 'data_dir_readonly'],
  [1032, 'data_dir_readonly'],
  [14, 'data_dir_readonly'],
  [3, 'data_dir_readonly'],
  [5, 'data_dir_locked'],
  [517, 'data_dir_locked'],
  [6, 'data_dir_locked'],
])('SQLite’s %i, extended codes included, is %s', (errcode, code) => {
  const cause = sqlite(errcode);
  const explained = explainFailure(cause, join(tempDir(), 'a.db'));
  expect(explained).toMatchObject({ code, cause, hint: expect.stringMatching(/\w/) });
  expect(explained).toBeInstanceOf(AppError);
});

test('what says nothing to a person comes back as it was', () => {
  const path = join(tempDir(), 'a.db');
  // A constraint, an I/O error with space on the disk or without a disk, an error of ours, no error at all.
  for (const error of [
    sqlite(2067),
    sqlite(10),
    new TypeError('x'),
    new AppError('run_not_found', 'x'),
    'text',
    undefined,
  ]) {
    expect(explainFailure(error, path)).toBe(error);
  }
  const nowhere = sqlite(778);
  expect(explainFailure(nowhere, '/no/such/folder/a.db')).toBe(nowhere);
});
