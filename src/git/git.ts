import type { AttemptResult } from '../contract/attempt.ts';

/**
 * The seam of the git room. Everything runs the git CLI with argument arrays, never a shell. Trusted code never runs git with
 * configuration, hooks or attributes' drivers that an agent could have written.
 */

export interface ResolvedRepository {
  /** What was given, made absolute where it is a path; a URL without its password. */
  repository: string;
  /** Absolute path of the user's local repository (its top), null for a URL. */
  localPath: string | null;
  /** Folder name of its mirror below the mirrors' directory. */
  mirror: string;
  /** What was asked for, null for HEAD. */
  ref: string | null;
  /** The commit it means now. */
  base: string;
  /** Uncommitted changes of a local repository that a run will not see: count of paths. 0 for a URL, null where it could not be told in time. */
  uncommitted: number | null;
}

export interface Mirrors {
  /**
   * Finds the repository, brings the wanted commit into its mirror and pins it (a ref of ours, so that no gc removes it).
   * Errors: repository_not_found, repository_not_git, repository_empty, repository_unreachable, repository_auth_required, unknown_ref.
   */
  resolve(repository: string, ref: string | undefined): Promise<ResolvedRepository>;
  /** Absolute path of a mirror (a bare repository). */
  path(mirror: string): string;
}

export interface Snapshot {
  result: AttemptResult;
  /** File the patch was written to. */
  patchFile: string;
}

export type { AttemptResult };
