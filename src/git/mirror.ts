import { randomUUID } from 'node:crypto';
import { appendFile, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { AppError } from '../errors.ts';
import { parseAddress } from './address.ts';
import { exists } from './borrowed.ts';
import type { Git, GitOptions, GitResult } from './command.ts';
import { remoteFailure, unreachable } from './failures.ts';
import type { Mirrors, ResolvedRepository } from './git.ts';
import { resolveLocal } from './local-source.ts';
import { FETCH_TIMEOUT_MS, pinOf, type MirrorAccess } from './mirror-access.ts';
import { assertPlausibleRef } from './refs.ts';
import { resolveRemote } from './remote-source.ts';

/** A lock older than this was left by a git that was killed: git holds them for milliseconds. */
const STALE_LOCK_MS = 10_000;

/**
 * The mirrors below `dir`: one bare repository per repository that was ever asked for. One process at a time works with them
 * (the data directory is locked); several resolves of one mirror wait for each other.
 */
export function openMirrors(dir: string, git: Git): Mirrors {
  const root = resolve(dir);
  const queues = new Map<string, Promise<unknown>>();
  const access: MirrorAccess = {
    git,
    nowhere: { cwd: root, env: { GIT_CEILING_DIRECTORIES: dirname(root) } },
    path: (mirror) => join(root, basename(mirror)),
    alone: (mirror, work) => {
      const before = queues.get(mirror) ?? Promise.resolve();
      const mine = before.then(work, work);
      // What waits behind it must not fail with it; the last one takes the queue away.
      const settled = mine.then(
        () => undefined,
        () => undefined,
      );
      queues.set(mirror, settled);
      return mine.finally(() => {
        if (queues.get(mirror) === settled) queues.delete(mirror);
      });
    },
    make: (mirror, shown, hex) => makeMirror(git, access.path(mirror), shown, hex),
    // A pin is a file: written after its objects, removed by nobody.
    isPinned: async (mirror, commit) => {
      const text = await readFile(join(access.path(mirror), pinOf(commit)), 'latin1').catch(() => '');
      return text.trim() === commit;
    },
    fetch: async (mirror, from, refspecs, options = []) => {
      const gitDir = access.path(mirror);
      // prettier-ignore
      const args = ['fetch', '--quiet', '--force', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules', '--no-show-forced-updates', '--update-shallow', ...options, '--', from.url, ...refspecs];
      const result = await patiently(
        git,
        args,
        { gitDir, cwd: gitDir, user: from.user, timeoutMs: FETCH_TIMEOUT_MS },
        from.shown,
      );
      if (result.code !== 0) throw remoteFailure(from.shown, result);
    },
  };
  return {
    path: access.path,
    async resolve(repository: string, ref: string | undefined): Promise<ResolvedRepository> {
      if (ref !== undefined) assertPlausibleRef(ref);
      const address = parseAddress(repository);
      await mkdir(root, { recursive: true });
      return address.kind === 'path' ? resolveLocal(access, address.path, ref) : resolveRemote(access, address, ref);
    },
  };
}

async function makeMirror(git: Git, path: string, shown: string, hex: number): Promise<void> {
  if (await exists(join(path, 'HEAD'))) return;
  // Under another name first: a mirror is there whole or not at all, whenever the process dies.
  const draft = `${path}.${randomUUID().slice(0, 8)}.draft`;
  // HEAD points at nothing for good: a clone then has no branch beside its own.
  await git([
    'init',
    '--quiet',
    '--bare',
    '--template=',
    `--object-format=${hex === 64 ? 'sha256' : 'sha1'}`,
    '--initial-branch=aideator-none',
    '--',
    draft,
  ]);
  // Packs instead of loose objects: a workspace links a handful of files instead of thousands.
  await appendFile(
    join(draft, 'config'),
    '[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[fetch]\n\tunpackLimit = 1\n',
  );
  await writeFile(join(draft, 'description'), `Mirror of ${shown}\n`);
  await rm(path, { recursive: true, force: true });
  await rename(draft, path);
}

/** Runs a fetch; where a lock is in the way, waits for its holder, or removes it once nobody can hold it any more. */
async function patiently(git: Git, args: readonly string[], options: GitOptions, shown: string): Promise<GitResult> {
  for (let tries = 0; ; tries++) {
    const result = await git(args, { ...options, accept: 'any' }).catch((error: unknown) => {
      if (error instanceof AppError && error.details?.['timed_out'] === true)
        throw unreachable(shown, `it was not done after ${FETCH_TIMEOUT_MS / 60_000} minutes`, error);
      throw error;
    });
    const lock = /Unable to create '([^\n]+\.lock)': File exists/.exec(result.stderr)?.[1];
    if (
      result.code === 0 ||
      lock === undefined ||
      tries >= 60 ||
      options.gitDir === undefined ||
      !lock.startsWith(`${options.gitDir}/`)
    )
      return result;
    const age = await stat(lock).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    if (age > STALE_LOCK_MS) await rm(lock, { force: true });
    else await sleep(250);
  }
}
