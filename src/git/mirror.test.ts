import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mirrorScene, typeOf } from '../../test/support/mirrors.ts';
import { plainGit } from '../../test/support/repository.ts';

test('a mirror says what it is, and is not looked for elsewhere', async () => {
  const { repository, mirrors } = mirrorScene();
  const { mirror } = await mirrors.resolve(repository.path, undefined);
  expect(readFileSync(join(mirrors.path(mirror), 'description'), 'utf8')).toBe(`Mirror of ${repository.path}\n`);
  expect(plainGit(mirrors.path(mirror), ['config', 'gc.auto'])).toBe('0');
  expect(mirrors.path('../../etc')).toBe(join(mirrors.path('x'), '..', 'etc'));
});

test('many at once on one mirror', async () => {
  const { repository, mirrors } = mirrorScene();
  const commits = [repository.head(), ...[1, 2, 3, 4].map((i) => repository.commit(`Commit ${i}`, { a: `${i}\n` }))];
  const [resolved, failed] = await Promise.all([
    Promise.all(commits.map((commit) => mirrors.resolve(repository.path, commit))),
    mirrors.resolve(repository.path, 'nope').catch((error: unknown) => error),
  ]);
  expect(resolved.map(({ base }) => base)).toEqual(commits);
  expect(failed).toMatchObject({ code: 'unknown_ref' });
});

test('a lock left by a git that was killed is removed; one that is held is waited for', async () => {
  const { repository, mirrors } = mirrorScene();
  const { mirror } = await mirrors.resolve(repository.path, undefined);
  const lock = join(mirrors.path(mirror), 'refs/heads/main.lock');
  writeFileSync(lock, '');
  utimesSync(lock, new Date(0), new Date(0));
  const next = repository.commit('Next', { a: 'b\n' });
  expect((await mirrors.resolve(repository.path, undefined)).base).toBe(next);
  expect(existsSync(lock)).toBe(false);
});

test('pins outlive branches that are moved, renamed and removed', async () => {
  const { repository, mirrors } = mirrorScene();
  const { base, mirror } = await mirrors.resolve(repository.path, undefined);
  repository.git('commit', '-q', '--amend', '-m', 'Other');
  repository.git('branch', '-m', 'main', 'main/deep');
  const next = await mirrors.resolve(repository.path, undefined);
  expect(next.mirror).toBe(mirror);
  expect(next.base).not.toBe(base);
  plainGit(mirrors.path(mirror), ['gc', '-q', '--prune=now']);
  expect(typeOf(mirrors, mirror, base)).toBe('commit');
  expect((await mirrors.resolve(repository.path, base)).base).toBe(base);
});
