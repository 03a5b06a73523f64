import type { Git, GitOptions } from './command.ts';

/** How long a fetch may take before its process group is ended. */
export const FETCH_TIMEOUT_MS = 5 * 60_000;

/** What both kinds of source need of the mirrors. */
export interface MirrorAccess {
  git: Git;
  /** Where a command runs that needs no repository: none is found from there, whatever folder the mirrors are in. */
  nowhere: Pick<GitOptions, 'cwd' | 'env'>;
  path(mirror: string): string;
  /** Runs one thing at a time on a mirror. */
  alone<T>(mirror: string, work: () => Promise<T>): Promise<T>;
  /** Makes the mirror if it is not there. `hex`: the length of its object names. */
  make(mirror: string, shown: string, hex: number): Promise<void>;
  /** Whether the commit is here and pinned. */
  isPinned(mirror: string, commit: string): Promise<boolean>;
  /** Fetches into a mirror; waits for locks and removes stale ones. Errors: as git's words say, see failures.ts. */
  fetch(
    mirror: string,
    from: { url: string; shown: string; user: 'none' | 'person' },
    refspecs: readonly string[],
    options?: readonly string[],
  ): Promise<void>;
}

/** Everything a repository has for others to see. */
export const ALL_REFS = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'];

/** The refspec that fetches a commit by its name and pins it: no gc removes it, and it is whole. */
export function pinning(commit: string): string {
  return `+${commit}:${pinOf(commit)}`;
}

export function pinOf(commit: string): string {
  return `refs/aideator/base/${commit}`;
}

/** Lets upload-pack hand out any commit by its name: a base may be reachable by a pin or a remote's ref only. */
export const ANY_COMMIT = 'git -c uploadpack.allowAnySHA1InWant=true -c safe.directory=* upload-pack';
