import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sampleRun } from '../../../test/support/sample-run.ts';
import { makeRepository, plainEnv, type TestRepository } from '../../../test/support/repository.ts';
import { tempDir } from '../../../test/support/temp.ts';
import type { Run } from '../../contract/api.ts';
import { sameRepository } from './clone.ts';
import { applyHere, branchHere, cloneOf } from './ship.ts';

const REPOSITORY = 'https://forge.invalid/team/project.git';

function scene(): { clone: TestRepository; run: Run; patch: Buffer } {
  const clone = makeRepository(join(tempDir(), 'clone'), { 'a.txt': 'one\n', 'b.txt': 'b\n' });
  const base = clone.head();
  clone.write({ 'a.txt': 'two\n', 'new/bytes': Buffer.from([0, 255, 10, 13]), 'b.txt': null });
  clone.git('add', '-A');
  const patch = Buffer.from(`${clone.git('diff', '--binary', '--cached', 'HEAD')}\n`);
  clone.git('reset', '-q', '--hard');
  return { clone, patch, run: { ...sampleRun(), repository: REPOSITORY, base } };
}

const ship = async ({ clone, run, patch }: ReturnType<typeof scene>, branch: string, force = false) => {
  const found = await cloneOf(plainEnv, clone.path, run);
  if (found === null) throw new Error('it was not taken for a clone');
  return branchHere(found, { run, index: 0, patch, branch, message: undefined, force });
};

describe('shipping to a clone', () => {
  test('a branch of one commit; work tree, index and the branch that is checked out stay; twice is the same commit', async () => {
    const here = scene();
    const { clone, run } = here;
    clone.write({ 'a.txt': 'my own work\n', staged: 'x\n' });
    clone.git('add', 'staged');
    const before = [clone.git('status', '--porcelain'), clone.head()];
    const commit = await ship(here, 'aideator/x');
    expect(clone.git('rev-parse', 'aideator/x', 'aideator/x^')).toBe(`${commit}\n${run.base}`);
    expect(clone.git('show', '--stat=80', '--format=%an <%ae>%n%B', commit)).toMatch(
      new RegExp(
        `^AIdeator <aideator@localhost>\\n.*\\n\\nAIdeator run ${run.run_id}, variation 0 [^]*3 files changed`,
      ),
    );
    expect(clone.git('show', `${commit}:a.txt`)).toBe('two');
    expect([clone.git('status', '--porcelain'), clone.head()]).toEqual(before);
    expect(readFileSync(join(clone.path, 'a.txt'), 'utf8')).toBe('my own work\n');
    expect(await ship(here, 'aideator/x')).toBe(commit);

    clone.git('branch', 'taken');
    await expect(ship(here, 'taken')).rejects.toMatchObject({ code: 'branch_exists' });
    await ship(here, 'taken', true);
    expect(clone.git('rev-parse', 'taken')).toBe(commit);
    await expect(ship(here, 'main', true)).rejects.toMatchObject({ code: 'branch_checked_out' });
    await expect(ship(here, 'a..b')).rejects.toMatchObject({ code: 'invalid_branch' });
  });

  test('onto the work tree: all of it or nothing', async () => {
    const { clone, run, patch } = scene();
    const found = await cloneOf(plainEnv, clone.path, run);
    await applyHere(found!.clone, patch);
    expect(clone.git('status', '--porcelain')).toBe('M a.txt\n D b.txt\n?? new/'.replace(/^/, ' '));
    clone.git('reset', '-q', '--hard');
    clone.git('clean', '-qfd');
    clone.write({ 'a.txt': 'mine\n' });
    await expect(applyHere(found!.clone, patch)).rejects.toMatchObject({ code: 'patch_does_not_apply' });
    expect(clone.git('status', '--porcelain')).toBe(' M a.txt');
  });

  test('what is a clone of the run: its commit is here, or its remote is the repository', async () => {
    const { clone, run } = scene();
    const elsewhere = { ...run, base: 'f'.repeat(40) };
    expect(await cloneOf(plainEnv, tempDir(), run)).toBeNull();
    expect((await cloneOf(plainEnv, clone.path, run))?.hasBase).toBe(true);
    expect(await cloneOf(plainEnv, clone.path, elsewhere)).toBeNull();
    clone.git('remote', 'add', 'team', 'git@forge.invalid:team/project');
    const stale = await cloneOf(plainEnv, clone.path, elsewhere);
    expect(stale?.hasBase).toBe(false);
    await expect(
      branchHere(stale!, { run: elsewhere, index: 0, patch: Buffer.from(''), branch: 'x', message: 'm', force: false }),
    ).rejects.toMatchObject({ code: 'unknown_ref', hint: expect.stringContaining('git fetch') as string });
  });

  test.each([
    ['https://Forge.example/a/b.git', 'git@forge.example:a/b'],
    ['ssh://git@forge.example/a/b', 'https://me:pw@forge.example/a/b/'],
    ['ssh://git@forge.example:2222/a/b', 'ssh://forge.example:2222/a/b.git'],
  ])('%s is %s', (a, b) => expect(sameRepository(a)).toBe(sameRepository(b)));

  test.each([
    ['https://forge.example/a/b', 'https://forge.example/a/c'],
    ['https://forge.example/a/b', 'https://forge.example:8443/a/b'],
    ['/srv/a/b', 'https://srv/a/b'],
  ])('%s is not %s', (a, b) => expect(sameRepository(a)).not.toBe(sameRepository(b)));
});
