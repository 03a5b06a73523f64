import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { attemptOn, git, makeAttempt, type TestAttempt } from '../../test/support/attempt.ts';
import { plainGit, writeFiles } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import { putEarlierWork } from './earlier-work.ts';

/** A second attempt on the same repository, with the first one's work put into it. */
async function goOn(first: TestAttempt, more: { tree?: string; patchFile?: string } = {}): Promise<TestAttempt> {
  const { tree } = await first.take();
  const second = await attemptOn(first.repository);
  const root = tempDir();
  await putEarlierWork(git, {
    ...{ source: second.source, base: second.base, dir: second.workspace, tree, patchFile: first.patchFile, ...more },
    gitDir: join(root, 'own.git'),
    scratchFile: join(root, 'scratch.patch'),
  });
  expect([existsSync(join(root, 'own.git')), existsSync(join(root, 'scratch.patch'))]).toEqual([false, false]);
  return second;
}

test('all that a patch can carry is there again, uncommitted, and makes the same tree', async () => {
  const first = await makeAttempt({
    'changed.txt': 'one\n',
    'gone.txt': 'gone\n',
    'moved.txt': 'moved\n'.repeat(20),
    'run.sh': { executable: '#!/bin/sh\n' },
    '.gitattributes': '*.crlf text eol=crlf\n*.bin binary\n*.x filter=evil diff=evil\n',
    'windows.crlf': 'a\r\nb\r\n',
    'file.x': 'x\n',
  });
  const { workspace } = first;
  writeFiles(workspace, {
    'changed.txt': 'two, without an end',
    'gone.txt': null,
    'in/new file': 'n\n',
    'data.bin': Buffer.from([0, 1, 2, 255, 13, 10]),
    link: { link: '/etc/passwd' },
    'new.crlf': 'c\r\nd\r\n',
    'file.x': 'y\n',
    'tab\tname': 't\n',
  });
  renameSync(join(workspace, 'moved.txt'), join(workspace, 'in', 'moved.txt'));
  chmodSync(join(workspace, 'run.sh'), 0o644);
  // What it had committed is not told apart: the result is against the base.
  plainGit(workspace, ['-c', 'filter.evil.clean=cat', 'add', '-A']);
  plainGit(workspace, ['commit', '-qm', 'mine']);
  const before = await first.take();
  const second = await goOn(first);
  const after = await second.take();
  expect([after.tree, after.patch_sha256]).toEqual([before.tree, before.patch_sha256]);
  expect(readFileSync(join(second.workspace, 'new.crlf'), 'latin1')).toBe('c\r\nd\r\n');
  expect(readlinkSync(join(second.workspace, 'link'))).toBe('/etc/passwd');
  expect(lstatSync(join(second.workspace, 'run.sh')).mode & 0o111).toBe(0);
  expect(plainGit(second.workspace, ['rev-parse', 'HEAD'])).toBe(second.base);
  expect(plainGit(second.workspace, ['diff', '--cached', '--name-only'])).toBe('');
  expect(plainGit(second.workspace, ['status', '--porcelain'])).toContain('?? data.bin');
});

test('a patch that makes another tree, or none, is refused', async () => {
  const first = await makeAttempt({ a: 'a\n' });
  writeFiles(first.workspace, { a: 'b\n' });
  await expect(goOn(first, { tree: '0'.repeat(40) })).rejects.toMatchObject({
    code: 'patch_invalid',
    message: expect.stringContaining('not 0000') as string,
  });
  const other = join(tempDir(), 'other.patch');
  writeFileSync(other, 'no patch\n');
  await expect(goOn(first, { patchFile: other })).rejects.toMatchObject({ code: 'patch_invalid' });
  await expect(goOn(first, { patchFile: join(tempDir(), 'gone') })).rejects.toMatchObject({ code: 'patch_invalid' });
});

test('a patch reaches nothing outside of the workspace', async () => {
  const first = await makeAttempt({ a: 'a\n' });
  const outside = tempDir();
  mkdirSync(join(outside, 'in'));
  const evil = join(tempDir(), 'evil.patch');
  for (const path of ['../escaped', 'out/in/escaped', '.git/hooks/post-checkout']) {
    const link = `diff --git a/out b/out\nnew file mode 120000\n--- /dev/null\n+++ b/out\n@@ -0,0 +1 @@\n+${outside}\n\\ No newline at end of file\n`;
    writeFileSync(
      evil,
      `${link}diff --git a/${path} b/${path}\nnew file mode 100755\n--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n+evil\n`,
    );
    await expect(goOn(first, { patchFile: evil })).rejects.toMatchObject({ code: 'patch_invalid' });
    expect(existsSync(join(outside, 'in', 'escaped'))).toBe(false);
  }
});
