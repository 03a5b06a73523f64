import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newPerson } from '../../../test/support/cli.ts';
import { tempDir } from '../../../test/support/temp.ts';

test('sample: the repository of the demo, made once and whole', async () => {
  const person = newPerson();
  const folder = join(tempDir(), 'deeper', 'sample');
  // What a start left behind that was cut off.
  mkdirSync(`${folder}.part`, { recursive: true });
  writeFileSync(join(`${folder}.part`, 'left-over'), '');

  expect(await person.run('sample', folder)).toMatchObject({ code: 0, err: '' });
  const head = () => execFileSync('git', ['-C', folder, 'rev-parse', 'HEAD'], { encoding: 'utf8' });
  const first = head();
  expect(execFileSync('git', ['-C', folder, 'status', '--porcelain'], { encoding: 'utf8' })).toBe('');
  expect(execFileSync('git', ['-C', folder, 'ls-files'], { encoding: 'utf8' })).not.toContain('left-over');

  const again = await person.run('sample', folder, '--json');
  expect(JSON.parse(again.out)).toEqual({ repository: folder, made: false });
  expect(head()).toBe(first);
  expect(readFileSync(join(folder, 'src/duration.js'), 'utf8')).toContain('parseDuration');
});
