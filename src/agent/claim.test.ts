import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { prepareAttempt } from '../../test/support/recorded.ts';
import { ownVersion, takeAttempt } from './claim.ts';

test('only the first takes an attempt, also of several at once', async () => {
  const { directory, spec } = prepareAttempt();
  const taken = await Promise.all(Array.from({ length: 8 }, () => takeAttempt(directory)));
  expect(taken.filter((each) => each !== null)).toEqual([spec]);
  expect(JSON.parse(readFileSync(join(directory, 'claim.json'), 'utf8'))).toMatchObject({ pid: process.pid });
});

test('a claim that cannot be made is an error, not somebody else’s', async () => {
  await expect(takeAttempt('/nowhere/at/all')).rejects.toThrow('ENOENT');
});

test('the version is the one of the package', async () => {
  expect(await ownVersion()).toMatch(/^\d+\.\d+\.\d+/);
});
