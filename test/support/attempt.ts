import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttemptResult } from '../../src/contract/attempt.ts';
import { createGit, type Git } from '../../src/git/command.ts';
import { openMirrors } from '../../src/git/mirror.ts';
import { takeSnapshot } from '../../src/git/snapshot.ts';
import { makeWorkspace } from '../../src/git/workspace.ts';
import { makeRepository, type FileSpec, type TestRepository } from './repository.ts';
import { tempDir } from './temp.ts';

/** The git of tests: with nothing of the machine's configuration. */
export const git: Git = createGit({
  env: { PATH: process.env['PATH'], HOME: '/nonexistent', GIT_CONFIG_NOSYSTEM: '1' },
});

export interface TestAttempt {
  repository: TestRepository;
  source: string;
  base: string;
  /** Where the agent would work. */
  workspace: string;
  patchFile: string;
  /** Takes the snapshot and reads the patch. */
  take(): Promise<AttemptResult & { patch: string }>;
}

/** A repository, its mirror and a workspace, as an attempt has them. */
export async function makeAttempt(files: Record<string, FileSpec>, init: readonly string[] = []): Promise<TestAttempt> {
  const root = tempDir();
  const repository = makeRepository(join(root, 'repository'), files, init);
  return attemptOn(repository, root);
}

export async function attemptOn(repository: TestRepository, root: string = tempDir()): Promise<TestAttempt> {
  const mirrors = openMirrors(join(root, 'mirrors'), git);
  const { mirror, base } = await mirrors.resolve(repository.path, undefined);
  const source = mirrors.path(mirror);
  const workspace = join(root, 'workspace');
  await makeWorkspace(git, { source, base, dir: workspace, branch: 'aideator/test' });
  const patchFile = join(root, 'result.patch');
  return {
    repository,
    source,
    base,
    workspace,
    patchFile,
    take: async () => {
      const { result } = await takeSnapshot(git, {
        source,
        base,
        workTree: workspace,
        gitDir: join(root, 'snapshot'),
        patchFile,
      });
      return { ...result, patch: readFileSync(patchFile, 'latin1') };
    },
  };
}
