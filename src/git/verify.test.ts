import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { git, makeAttempt } from '../../test/support/attempt.ts';
import { plainGit, writeFiles } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import { diffTrees, treeOf } from './diff.ts';
import { makeCheckout, verifyPatch } from './verify.ts';

test('a checkout has the files of the base and nothing else', async () => {
  const { source, base } = await makeAttempt({ a: 'a\n', 'in/b': { executable: 'b\n' }, l: { link: 'a' } });
  const dir = join(tempDir(), 'checkout');
  await makeCheckout(git, { source, base, dir });
  expect(readdirSync(dir).toSorted()).toEqual(['a', 'in', 'l']);
});

test('several patches can be proven against one checkout, which stays as it is', async () => {
  const attempt = await makeAttempt({ a: 'a\n', b: 'b\n' });
  const { source, base, patchFile } = attempt;
  const checkout = join(tempDir(), 'checkout');
  await makeCheckout(git, { source, base, dir: checkout });
  for (const text of ['one\n', 'two\n']) {
    writeFiles(attempt.workspace, { a: text, new: text });
    const { tree } = await attempt.take();
    await verifyPatch(git, { source, base, patchFile, checkout, expectedTree: tree });
  }
  expect(readdirSync(checkout)).toEqual(['a', 'b']);
  expect(readFileSync(join(checkout, 'a'), 'utf8')).toBe('a\n');
  // A checkout that is not the base's is found out.
  writeFiles(checkout, { a: 'changed\n' });
  const { tree } = await attempt.take();
  await expect(verifyPatch(git, { source, base, patchFile, checkout, expectedTree: tree })).rejects.toMatchObject({
    code: 'patch_invalid',
    message: expect.stringContaining('clean checkout'),
  });
  // The mirror was read only.
  expect(existsSync(join(source, 'index'))).toBe(false);
});

test('a patch that does not apply, makes another tree, is cut or is no patch is not valid', async () => {
  const attempt = await makeAttempt({ a: 'one\ntwo\nthree\n' });
  writeFiles(attempt.workspace, { a: 'one\n2\nthree\n', b: 'b\n' });
  const { tree, patch } = await attempt.take();
  const { source, base, repository } = attempt;
  const claim = (text: string, expectedTree = tree) => {
    const patchFile = join(tempDir(), 'patch');
    writeFileSync(patchFile, text, 'latin1');
    return verifyPatch(git, { source, base, patchFile, expectedTree });
  };
  await claim(patch);
  const baseTree = repository.git('rev-parse', `${base}^{tree}`);
  await claim('', baseTree);
  await expect(claim('')).rejects.toMatchObject({ code: 'patch_invalid', message: expect.stringContaining(baseTree) });
  await expect(claim(patch, baseTree)).rejects.toMatchObject({ code: 'patch_invalid' });
  await expect(claim(patch.replace('-two', '-TWO'))).rejects.toMatchObject({
    code: 'patch_invalid',
    message: expect.stringContaining('patch does not apply'),
  });
  await expect(claim(patch.slice(0, -4))).rejects.toMatchObject({ code: 'patch_invalid' });
  await expect(claim('no patch at all\n')).rejects.toMatchObject({
    code: 'patch_invalid',
    message: expect.stringMatching(/No valid patches|unrecognized input/),
  });
});

test('a patch that reaches out of the checkout is not valid', async () => {
  const { source, base } = await makeAttempt({ a: 'a\n', out: { link: '/tmp' } });
  for (const name of ['../escaped', 'out/escaped', '.git/config']) {
    const patchFile = join(tempDir(), 'patch');
    writeFileSync(
      patchFile,
      `diff --git a/${name} b/${name}\nnew file mode 100644\n--- /dev/null\n+++ b/${name}\n@@ -0,0 +1 @@\n+x\n`,
    );
    await expect(verifyPatch(git, { source, base, patchFile, expectedTree: base })).rejects.toMatchObject({
      code: 'patch_invalid',
    });
  }
});

test('one against another', async () => {
  const attempt = await makeAttempt({ a: 'a\n', bin: Buffer.from([0, 1]) });
  const { source, base } = attempt;
  const gitDir = join(tempDir(), 'trees');
  const patches: { patchFile: string; tree: string }[] = [];
  for (const text of ['one\n', 'two\n', null]) {
    writeFiles(
      attempt.workspace,
      text === null
        ? { a: 'a\n', bin: Buffer.from([0, 1]) }
        : { a: text, bin: Buffer.from([0, text.length, text.charCodeAt(0)]) },
    );
    const { tree, patch } = await attempt.take();
    const patchFile = join(tempDir(), 'patch');
    writeFileSync(patchFile, patch, 'latin1');
    patches.push({ patchFile, tree });
  }
  const trees = await Promise.all(patches.map(({ patchFile }) => treeOf(git, { source, base, patchFile, gitDir })));
  expect(trees).toEqual(patches.map(({ tree }) => tree));
  const [one = '', two = '', same = ''] = trees;
  const diff = await diffTrees(git, { gitDir, a: one, b: two });
  expect(diff.toString('latin1')).toContain('-one\n+two\n');
  expect(diff.toString('latin1')).toContain('GIT binary patch');
  expect((await diffTrees(git, { gitDir, a: one, b: one })).length).toBe(0);
  expect(same).toBe(plainGit(source, ['rev-parse', `${base}^{tree}`]));
  await expect(diffTrees(git, { gitDir, a: '--output=/tmp/x', b: two })).rejects.toMatchObject({ code: 'git_failed' });
  await expect(diffTrees(git, { gitDir, a: one, b: two, maxBytes: 10 })).rejects.toMatchObject({ code: 'git_failed' });
});

test('a mirror in a folder with an odd name', async () => {
  const attempt = await makeAttempt({ a: 'a\n' });
  writeFiles(attempt.workspace, { a: 'b\n' });
  const { tree } = await attempt.take();
  for (const name of ['"quoted\nname', 'colon:name', '#hash']) {
    const source = join(tempDir(), name);
    plainGit(tempDir(), ['clone', '-q', '--mirror', attempt.source, source]);
    const claim = { source, base: attempt.base, patchFile: attempt.patchFile, expectedTree: tree };
    await expect(verifyPatch(git, claim)).resolves.toBeUndefined();
  }
});
