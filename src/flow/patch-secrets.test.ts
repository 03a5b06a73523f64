import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeAttempt } from '../../test/support/attempt.ts';
import { createFinder } from '../redaction/finder.ts';
import { printsOf } from '../redaction/prints.ts';
import { findInPatch } from './patch-secrets.ts';

const KEY = 'canary-0Zq81x9AbCdEf0123456789q';
const finder = createFinder([printsOf([{ value: KEY, what: 'key of p' }])]);

it('finds what a patch adds, by file and line: a known secret, wrapped as well, and what looks like one', async () => {
  const lines = Array.from({ length: 30 }, (_, index) => `line ${index}`);
  const attempt = await makeAttempt({ 'a.txt': `${lines.join('\n')}\n`, 'old.env': `${KEY}\n` });
  const write = (name: string, text: string): void => writeFileSync(join(attempt.workspace, name), text);
  write(
    'a.txt',
    [...lines.slice(0, 20), 'new', `+++ b/fooled ghp_${'aB3d'.repeat(9)}`, ...lines.slice(20), ''].join('\n'),
  );
  // It was there before: taking it out is no crime.
  write('old.env', 'nothing\n');
  await attempt.take();
  expect(await findInPatch(attempt.patchFile, finder)).toEqual({
    known: null,
    shapes: [{ path: 'a.txt', line: 22, what: 'github token' }],
  });

  write('ein schöner Name.txt', `\n\nx = "${KEY}"\n`);
  await attempt.take();
  const named = await findInPatch(attempt.patchFile, finder);
  expect(named.known).toMatchObject({ line: 3, what: 'key of p' });
  expect(named.known?.path).toContain('Name.txt');

  write('ein schöner Name.txt', `x\n`);
  const wrapped = Buffer.from(`so ${'-'.repeat(50)} ${KEY}`)
    .toString('base64')
    .replaceAll(/.{76}/g, '$&\n');
  write('b.txt', `${'filler of some length\n'.repeat(20_000)}${wrapped}\n`);
  await attempt.take();
  expect((await findInPatch(attempt.patchFile, finder)).known).toEqual({
    path: 'b.txt',
    line: 20_001,
    what: 'key of p',
  });
});
