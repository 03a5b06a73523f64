import { join } from 'node:path';
import type { Git } from '../../src/git/command.ts';
import type { Mirrors } from '../../src/git/git.ts';
import { openMirrors } from '../../src/git/mirror.ts';
import { git } from './attempt.ts';
import { makeRepository, plainGit, type TestRepository } from './repository.ts';
import { tempDir } from './temp.ts';

export interface MirrorScene {
  repository: TestRepository;
  mirrors: Mirrors;
  /** The git commands that were run, by their words. */
  ran: string[];
  root: string;
}

/** A repository, mirrors beside it, and what was run. */
export function mirrorScene(files: Record<string, string> = { a: 'a\n' }, init: readonly string[] = []): MirrorScene {
  const root = tempDir();
  const repository = makeRepository(join(root, 'project'), files, init);
  const ran: string[] = [];
  const counted: Git = (args, options) => (ran.push(args[0] ?? ''), git(args, options));
  return { repository, mirrors: openMirrors(join(root, 'mirrors'), counted), ran, root };
}

/** What the mirror has of a commit. */
export const typeOf = (mirrors: Mirrors, mirror: string, commit: string): string =>
  plainGit(mirrors.path(mirror), ['cat-file', '-t', commit]);
