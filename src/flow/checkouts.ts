import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Git } from '../git/command.ts';
import type { Mirrors } from '../git/git.ts';
import { makeCheckout } from '../git/verify.ts';

/** Clean checkouts of runs' bases, against which patches are proved: one a run, however many variations it has. */
export interface Checkouts {
  /** The folder of a run's checkout, made when it is not there. */
  of(run: { id: string; mirror: string; base: string }): Promise<string>;
  /** Removes a run's: it is made again when it is needed again. */
  drop(runId: string): Promise<void>;
  /** Removes what a former server left. */
  clear(): Promise<void>;
}

export function createCheckouts(directory: string, git: Git, mirrors: Mirrors): Checkouts {
  const made = new Map<string, Promise<string>>();
  return {
    of: (run) => {
      const known = made.get(run.id);
      if (known !== undefined) return known;
      const dir = join(directory, run.id);
      const making = makeCheckout(git, { source: mirrors.path(run.mirror), base: run.base, dir }).then(() => dir);
      made.set(run.id, making);
      // One that failed is not kept: the next attempt's end tries again.
      making.catch(() => made.delete(run.id));
      return making;
    },
    drop: async (runId) => {
      const known = made.get(runId);
      if (known === undefined) return;
      made.delete(runId);
      await known.catch(() => undefined);
      await rm(join(directory, runId), { recursive: true, force: true });
    },
    clear: () => rm(directory, { recursive: true, force: true }),
  };
}
