import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AppError } from '../errors.ts';
import type { Git } from './command.ts';

/**
 * Bare repositories of our own that borrow their objects from a mirror. Their configuration is written here, in full; nothing in
 * them comes from a template, a user or an agent.
 */

export const OBJECT_NAME = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Whether a source is a URL and not a mirror's path. */
export function isUrl(source: string): boolean {
  return /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(source);
}

/** Refuses what is not a whole object name: nothing else may stand where git expects one. */
export function assertObjectName(base: string): void {
  if (!OBJECT_NAME.test(base))
    throw new AppError('git_failed', `${JSON.stringify(base)} is not a commit's whole name.`);
}

/**
 * Makes (or finds again) a bare repository at `gitDir` that sees the objects of `source`.
 *
 * @param base decides the object format (40 or 64 hex digits); it is fetched where the source is a URL.
 */
export async function borrow(
  git: Git,
  { source, base, gitDir }: { source: string; base: string; gitDir: string },
): Promise<void> {
  assertObjectName(base);
  if (await exists(join(gitDir, 'HEAD'))) return;
  const finish = await beginBare(gitDir, base, '');
  if (!isUrl(source)) {
    await writeWhole(join(gitDir, 'objects', 'info', 'alternates'), `${quoted(join(resolve(source), 'objects'))}\n`);
    // Without it a history that ends early looks like one that is broken.
    if (await exists(join(source, 'shallow'))) await copyFile(join(source, 'shallow'), join(gitDir, 'shallow'));
  }
  await finish();
  if (isUrl(source)) {
    await git(['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--depth=1', source, base], { gitDir });
  }
}

/**
 * Makes (or finds again) a bare repository with nothing in it, whose HEAD points at nothing.
 *
 * @param base decides the object format
 * @param more lines added to its configuration
 */
export async function makeBare(gitDir: string, base: string, more: string): Promise<void> {
  assertObjectName(base);
  if (await exists(join(gitDir, 'HEAD'))) return;
  await (
    await beginBare(gitDir, base, more)
  )();
}

/** Everything but what makes it a repository; that comes last, by what is returned: git, and the next call, take it for one then. */
async function beginBare(gitDir: string, base: string, more: string): Promise<() => Promise<void>> {
  await mkdir(join(gitDir, 'objects', 'info'), { recursive: true });
  await mkdir(join(gitDir, 'refs'), { recursive: true });
  const format =
    base.length === 64
      ? '\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n'
      : '\trepositoryformatversion = 0\n\tbare = true\n';
  await writeWhole(join(gitDir, 'config'), `[core]\n${format}[gc]\n\tauto = 0\n${more}`);
  return () => writeWhole(join(gitDir, 'HEAD'), 'ref: refs/heads/none\n');
}

/** Never seen half written: another call may be at work in the repository already. */
async function writeWhole(path: string, text: string): Promise<void> {
  const part = `${path}.${randomUUID()}`;
  await writeFile(part, text);
  await rename(part, path);
}

/** Runs something with an index file of its own, which is removed with its lock afterwards. */
export async function withIndex<T>(gitDir: string, use: (indexFile: string) => Promise<T>): Promise<T> {
  const indexFile = join(gitDir, `index-${randomUUID()}`);
  try {
    return await use(indexFile);
  } finally {
    await rm(indexFile, { force: true });
    await rm(`${indexFile}.lock`, { force: true });
  }
}

/** The tree that a patch makes of the base, written into `gitDir`. Errors: patch_invalid with git's words. */
export async function applyToTree(
  git: Git,
  { base, patchFile, gitDir }: { base: string; patchFile: string; gitDir: string },
): Promise<string> {
  const { size } = await stat(patchFile);
  if (size === 0) return textOf(await git(['rev-parse', '--verify', `${base}^{tree}`], { gitDir }));
  return withIndex(gitDir, async (indexFile) => {
    await git(['read-tree', base], { gitDir, indexFile });
    const applied = await git(['apply', '--cached', '--whitespace=nowarn', '--', resolve(patchFile)], {
      gitDir,
      indexFile,
      cwd: gitDir,
      accept: 'any',
    });
    if (applied.code !== 0)
      throw new AppError(
        'patch_invalid',
        `The patch does not apply to the base: ${applied.stderr.trim().slice(0, 2000)}`,
      );
    return textOf(await git(['write-tree'], { gitDir, indexFile }));
  });
}

/** Standard output as text, without the line's end. */
export function textOf({ stdout }: { stdout: Buffer }): string {
  return stdout.toString().replace(/\n$/, '');
}

/** A path as a line of `objects/info/alternates`. */
function quoted(path: string): string {
  if (!/^["#]|[\n\\]/.test(path)) return path;
  return `"${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
