import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Shipped, ShipRequest } from '../contract/api.ts';
import type { AttemptResult } from '../contract/attempt.ts';
import { now } from '../contract/ids.ts';
import { SHIP_AUTHOR, shipBranchName, shipMessage } from '../contract/shipping.ts';
import { AppError } from '../errors.ts';
import { applyToWorkTree, makeCommit, shipBranch } from '../git/ship.ts';
import type { Selectable } from 'kysely';
import type { RunsTable, VariationsTable } from '../store/schema.ts';
import type { Context } from './context.ts';
import { patchPath } from './finish.ts';
import { findRun, findVariation } from './rows.ts';

/**
 * Step 5: the chosen variation's verified patch becomes a branch of the user's repository, or a change of its work tree. The
 * commit is made in a repository of ours: nothing an agent wrote runs.
 * Errors: not_chosen, nothing_to_ship, and those of the git room (branch_exists, branch_checked_out, invalid_branch,
 * patch_does_not_apply, ship_failed).
 */
export async function shipVariation(context: Context, runId: string, request: ShipRequest): Promise<Shipped> {
  const run = await findRun(context.store, runId);
  const chosen = request.variation_id === undefined ? await chosenOf(context, run) : undefined;
  const index = request.variation_id ?? chosen?.variation ?? 0;
  const { variation, attempt, result, patchFile } = await shippable(context, run, index, chosen?.attempt);
  const shipped: Shipped = {
    run_id: run.id,
    variation_id: index,
    kind: request.kind,
    branch: null,
    commit: null,
    repository: run.repository,
    files: result.files.length,
  };
  if (request.kind === 'apply') {
    await applyToWorkTree(context.git, { repository: run.repository, patchFile });
  } else {
    const branch = request.branch ?? shipBranchName(run.id, index);
    const workshop = await mkdtemp(join(tmpdir(), 'aideator-ship-'));
    try {
      const gitDir = join(workshop, 'ship.git');
      const commit = await makeCommit(context.git, {
        source: context.mirrors.path(run.mirror),
        base: run.base,
        patchFile,
        tree: result.tree,
        message:
          request.message ?? shipMessage({ ...run, prompt: context.secrets.text(run.prompt) }, { ...variation, index }),
        // Of the work, not of the shipping: the same choice shipped twice is the same commit, and no conflict.
        date: new Date(attempt.ended_at ?? run.created_at),
        author: SHIP_AUTHOR,
        gitDir,
      });
      await shipBranch(context.git, { repository: run.repository, commit, branch, force: request.force, gitDir });
      shipped.branch = branch;
      shipped.commit = commit;
    } finally {
      await rm(workshop, { recursive: true, force: true });
    }
  }
  await context.store.write({
    within: (tx) =>
      void tx.run(
        context.store.db.insertInto('shipments').values({
          run: run.no,
          variation: index,
          kind: request.kind,
          target: shipped.branch ?? run.repository,
          commit_id: shipped.commit,
          at: now(),
        }),
      ),
  });
  return shipped;
}

/**
 * A variation with a verified patch, and the file it lies in.
 * Errors: variation_not_found, nothing_to_ship.
 *
 * @param attemptNo the attempt that was chosen; else the variation's own result, which it has once it is over
 */
export async function shippable(
  context: Context,
  run: Selectable<RunsTable>,
  index: number,
  attemptNo?: number,
): Promise<{
  variation: Selectable<VariationsTable>;
  attempt: { id: string; ended_at: string | null };
  result: AttemptResult;
  patchFile: string;
}> {
  const variation = await findVariation(context.store, run, index);
  const found = await context.store.db
    .selectFrom('results')
    .innerJoin('attempts', 'attempts.no', 'results.attempt')
    .select(['attempts.id', 'attempts.ended_at', 'results.data', 'results.patch_bytes'])
    .where('results.attempt', '=', attemptNo ?? variation.result_attempt ?? -1)
    .executeTakeFirst();
  if (found === undefined || found.patch_bytes === 0) {
    throw new AppError(
      'nothing_to_ship',
      `Variation ${index} has no patch (${variation.end_reason ?? variation.status}).`,
      { hint: `\`aideator compare ${run.id}\` shows which have one.` },
    );
  }
  const { id, ended_at, data } = found;
  const result = JSON.parse(data) as AttemptResult;
  return { variation, attempt: { id, ended_at }, result, patchFile: patchPath(context, id) };
}

async function chosenOf(context: Context, run: Selectable<RunsTable>): Promise<{ variation: number; attempt: number }> {
  const choice = await context.store.db
    .selectFrom('choices')
    .select(['variation', 'attempt'])
    .where('run', '=', run.no)
    .executeTakeFirst();
  if (choice !== undefined) return choice;
  throw new AppError('not_chosen', `No variation of run ${run.id} was chosen yet.`, {
    hint: `Choose one first (\`aideator choose ${run.id} N\`), or name it with variation_id (--variation N).`,
  });
}
