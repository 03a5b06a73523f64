import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newPerson } from '../../../test/support/cli.ts';
import { startTestHouse } from '../../../test/support/house.ts';
import { gitAs, sourceRepository } from '../../../test/support/sources.ts';
import { tempDir } from '../../../test/support/temp.ts';

test('a copy, made while the server runs, is a data directory: a server goes on from it, and ships', async () => {
  const person = newPerson();
  const repository = sourceRepository({ 'value.txt': 'old\n' });
  const ran = await person.run('run', '--repo', repository, '--prompt', 'x', '-n', '1', '--json');
  expect(ran.code).toBe(0);
  const { run_id: id } = JSON.parse(ran.out) as { run_id: string };

  const home = tempDir();
  const { code, out } = await person.run('backup', join(home, 'data'));
  expect([code, out]).toEqual([
    0,
    `${join(home, 'data')} is a copy of ${person.dataDir}.\nTo go on from it: aideator serve --data-dir ${join(home, 'data')}\n`,
  ]);
  expect(existsSync(join(home, 'data.part'))).toBe(false);

  const events = (await person.run('logs', id, '--json')).out;
  const house = await startTestHouse({ home });
  const there = ['--url', house.url];
  expect((await person.run('logs', id, '--json', ...there)).out).toBe(events);
  expect((await person.run('ship', id, '-v', '0', '--branch', 'from-backup', ...there)).code).toBe(0);
  expect(gitAs(repository, 'show', 'from-backup:value.txt')).toBe('new');
});

test('nothing is written over, and nothing is made of nothing', async () => {
  const person = newPerson();
  expect((await person.run('backup', 'copy')).err).toContain('has no database');
  await person.run('list');
  mkdirSync(join(person.home, 'there'));
  expect(await person.run('backup', 'there')).toMatchObject({ code: 2 });
  expect((await person.run('backup', '/proc/copy')).code).toBe(5);
});
