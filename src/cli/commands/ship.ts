import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Run, Shipped } from '../../contract/api.ts';
import { shipBranchName } from '../../contract/shipping.ts';
import { AppError } from '../../errors.ts';
import { isAddress } from '../address.ts';
import type { Client } from '../client.ts';
import type { cloneOf } from '../clone/ship.ts';
import { plainLine } from '../display.ts';
import { plural } from '../format.ts';
import { findRunId, type Session } from '../session.ts';

interface ShipOptions {
  branch?: string;
  patch?: string;
  apply?: boolean;
  variation?: number;
  message?: string;
  force?: boolean;
  push?: boolean;
}

/**
 * `aideator ship`: the chosen variation as a branch, a patch file, or changes of the work tree. A run of a repository at a URL is
 * shipped to the clone that the person is in; `--push` has the server push it instead.
 */
export async function ship(session: Session, [given = '']: string[], options: ShipOptions): Promise<number> {
  const { branch, patch, apply = false, variation, message, force = false, push = false } = options;
  if ([branch !== undefined || push, patch !== undefined, apply].filter(Boolean).length > 1) {
    throw new AppError(
      'invalid_request',
      '--branch (with or without --push), --patch and --apply are three ways to ship.',
      {
        hint: 'Give one of them.',
      },
    );
  }
  const client = await session.connect();
  const runId = await findRunId(client, given);
  if (patch !== undefined) return shipPatch(session, client, runId, patch, variation);
  const run = await client.run(runId);
  if (isAddress(run.repository) && !push) {
    const { cloneOf } = await import('../clone/ship.ts');
    const found = await cloneOf(session.io.env, session.io.cwd, run);
    if (found !== null) return shipHere(session, client, run, found, options);
    if (apply)
      throw new AppError('repository_not_found', `${session.io.cwd} is no clone of ${run.repository}.`, {
        hint: `Go to your clone of it and ship there. Or, wherever it fits: aideator ship ${runId} --patch - | git apply`,
      });
  }
  const shipped = await client.ship(runId, {
    kind: apply ? 'apply' : 'branch',
    force,
    ...(branch === undefined ? {} : { branch }),
    ...(message === undefined ? {} : { message }),
    ...(variation === undefined ? {} : { variation_id: variation }),
  });
  tell(session, shipped, isAddress(shipped.repository) ? 'pushed' : 'there');
  return 0;
}

/** Into the person's own clone: what the server of a laptop does there, done from here. */
async function shipHere(
  session: Session,
  client: Client,
  run: Run,
  found: NonNullable<Awaited<ReturnType<typeof cloneOf>>>,
  { branch, apply = false, variation, message, force = false }: ShipOptions,
): Promise<number> {
  const { applyHere, branchHere } = await import('../clone/ship.ts');
  const index = chosenOf(run, variation);
  const view = run.variations[index];
  const patch = await client.patch(run.run_id, index);
  const shipped: Shipped = {
    run_id: run.run_id,
    variation_id: index,
    kind: apply ? 'apply' : 'branch',
    branch: null,
    commit: null,
    repository: found.clone.top,
    files: view?.files_changed ?? 0,
  };
  if (apply) await applyHere(found.clone, patch);
  else {
    shipped.branch = branch ?? shipBranchName(run.run_id, index);
    shipped.commit = await branchHere(found, { run, index, patch, branch: shipped.branch, message, force });
  }
  tell(session, shipped, 'here');
  return 0;
}

function tell(session: Session, shipped: Shipped, where: 'here' | 'there' | 'pushed'): void {
  const { variation_id: index, files, commit } = shipped;
  const [repository, branch] = [plainLine(shipped.repository), plainLine(shipped.branch ?? '')];
  if (session.json) session.printJson(shipped);
  else if (shipped.kind === 'apply')
    session.say(
      `Variation ${index} was applied to the work tree of ${repository}: ${plural(files, 'file')}, not committed.`,
    );
  else if (where === 'pushed')
    session.print(
      `Variation ${index} was pushed by the server: branch ${session.palette.bold(branch)} of ${repository}, commit ${commit?.slice(0, 12) ?? '-'}, ${plural(files, 'file')}.`,
    );
  else
    session.print(
      `Variation ${index} is branch ${session.palette.bold(branch)} of ${repository}:`,
      `commit ${commit?.slice(0, 12) ?? '-'}, ${plural(files, 'file')}.`,
      'Your work tree and the branch you are on were not touched.',
      '',
      'Next:',
      `  git diff HEAD...${branch}`,
      `  git merge ${branch}`,
    );
}

function chosenOf(run: Run, variation: number | undefined): number {
  const index = variation ?? run.choice?.winning_variation_id;
  if (index !== undefined) return index;
  throw new AppError('not_chosen', `No variation of run ${run.run_id} was chosen yet.`, {
    hint: `aideator choose ${run.run_id} <variation>, or name one: --variation <index>.`,
  });
}

/** The exact bytes of the patch, to a file or to standard output. */
async function shipPatch(
  session: Session,
  client: Client,
  runId: string,
  target: string,
  variation: number | undefined,
): Promise<number> {
  const index = variation ?? chosenOf(await client.run(runId), undefined);
  const patch = await client.patch(runId, index);
  if (target === '-') {
    session.io.stdout.write(patch);
    return 0;
  }
  const path = resolve(session.io.cwd, target);
  try {
    writeFileSync(path, patch);
  } catch (error) {
    throw new AppError(
      'invalid_request',
      `The patch cannot be written: ${error instanceof Error ? error.message : String(error)}.`,
      { hint: 'Name a file in a folder that exists and may be written to, or - for standard output.', cause: error },
    );
  }
  if (session.json) session.printJson({ run_id: runId, variation_id: index, kind: 'patch', path, bytes: patch.length });
  else
    session.print(
      `The patch of variation ${index} is ${plainLine(path)} (${plural(patch.length, 'byte')}).`,
      '',
      'Next:',
      `  git apply ${plainLine(path)}`,
    );
  return 0;
}
