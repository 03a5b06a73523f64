import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { AppError } from '../../errors.ts';
import type { Client } from '../client.ts';
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
}

/** `aideator ship`: the chosen variation as a branch, a patch file, or changes of the work tree. */
export async function ship(session: Session, [given = '']: string[], options: ShipOptions): Promise<number> {
  const { branch, patch, apply = false, variation, message, force = false } = options;
  if ([branch !== undefined, patch !== undefined, apply].filter(Boolean).length > 1) {
    throw new AppError('invalid_request', '--branch, --patch and --apply are three ways to ship.', {
      hint: 'Give one of them.',
    });
  }
  const client = await session.connect();
  const runId = await findRunId(client, given);
  if (patch !== undefined) return shipPatch(session, client, runId, patch, variation);
  const shipped = await client.ship(runId, {
    kind: apply ? 'apply' : 'branch',
    force,
    ...(branch === undefined ? {} : { branch }),
    ...(message === undefined ? {} : { message }),
    ...(variation === undefined ? {} : { variation_id: variation }),
  });
  if (session.json) session.printJson(shipped);
  else if (shipped.kind === 'apply')
    session.print(
      `Variation ${shipped.variation_id} was applied to the work tree of ${plainLine(shipped.repository)}: ${plural(shipped.files, 'file')}, not committed.`,
    );
  else {
    session.print(
      `Variation ${shipped.variation_id} is branch ${session.palette.bold(plainLine(shipped.branch ?? ''))} of ${plainLine(shipped.repository)}: commit ${shipped.commit?.slice(0, 12) ?? '-'}, ${plural(shipped.files, 'file')}.`,
    );
    session.print(
      'Your work tree and the branch you are on were not touched.',
      '',
      'Next:',
      `  git diff HEAD...${shipped.branch ?? ''}`,
      `  git merge ${shipped.branch ?? ''}`,
    );
  }
  return 0;
}

/** The exact bytes of the patch, to a file or to standard output. */
async function shipPatch(
  session: Session,
  client: Client,
  runId: string,
  target: string,
  variation: number | undefined,
): Promise<number> {
  const index = variation ?? (await client.run(runId)).choice?.winning_variation_id;
  if (index === undefined)
    throw new AppError('not_chosen', `No variation of run ${runId} was chosen yet.`, {
      hint: `aideator choose ${runId} <variation>, or name one: --variation <index>.`,
    });
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
      `The patch of variation ${index} is ${path} (${plural(patch.length, 'byte')}). Apply it with: git apply ${path}`,
    );
  return 0;
}
