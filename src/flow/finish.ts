import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { attemptResult, type AttemptResult } from '../contract/attempt.ts';
import type { EndReason, VariationStatus } from '../contract/run.ts';
import { AppError, toAppError } from '../errors.ts';
import { verifyPatch } from '../git/verify.ts';
import type { Context, RunningContext } from './context.ts';
import { findInPatch } from './patch-secrets.ts';

/** What an attempt's end means for its variation, and the taking in of its result. */

export interface Ending {
  status: Extract<VariationStatus, 'succeeded' | 'failed' | 'cancelled'>;
  reason: EndReason;
  message: string | null;
}

/**
 * The status that a reason means. Only a turn that the agent itself ended, with a change, is a success; what a limit stopped
 * has failed, with its work kept.
 *
 * @param stopReason why the server asked it to stop; it wins over the recorder's plain `cancelled`, and over what came of the
 *   stop: an end that nobody could tell of, and model calls that were cut or refused, where the agent ended of that before it
 *   heard of the stop.
 */
export function endingOf(reason: EndReason, message: string | null, stopReason: EndReason | null): Ending {
  // A call of it was refused for good, whatever its agent made of that; its work is kept.
  if (stopReason === 'budget_exhausted') return { status: 'failed', reason: stopReason, message };
  const cut = reason === 'provider_error' || reason === 'provider_auth';
  if (stopReason !== null && cut) return endingOf(stopReason, null, null);
  const final = stopReason !== null && STOPPED.includes(reason) ? stopReason : reason;
  switch (final) {
    case 'end_turn':
      return { status: 'succeeded', reason: final, message };
    case 'cancelled':
    case 'superseded':
      return { status: 'cancelled', reason: final, message };
    default:
      return { status: 'failed', reason: final, message };
  }
}

/** Ends that say no more than that somebody stopped it, or that nobody can tell. */
const STOPPED: readonly EndReason[] = ['cancelled', 'lost', 'terminated', 'job_deleted'];

/** Failures that another attempt could mend. The others would fail the same way again and only cost money. */
export function isWorthRetrying(reason: EndReason): boolean {
  switch (reason) {
    case 'timeout':
    case 'silent':
    case 'agent_exit':
    case 'protocol_error':
    case 'provider_error':
    case 'setup_failed':
    case 'result_failed':
    case 'no_changes':
    case 'max_turns':
    case 'max_tokens':
    case 'output_limit':
    case 'disk_limit':
    case 'lost':
    case 'evicted':
    case 'preempted':
    case 'node_lost':
    case 'terminated':
    case 'oom_killed':
      return true;
    case 'unschedulable':
    case 'admission_refused':
    case 'image_pull_failed':
    case 'image_invalid':
    case 'pod_config_error':
    case 'init_failed':
    case 'deadline_exceeded':
    case 'job_deleted':
    case 'end_turn':
    case 'refusal':
    case 'run_timeout':
    case 'agent_missing':
    case 'provider_auth':
    case 'budget_exhausted':
    case 'cancelled':
    case 'superseded':
      return false;
  }
}

/** Where the patch of an attempt lies in the server's own keeping: its own file, so that it goes with its run and no other's. */
export function patchPath(context: { config: Pick<Context['config'], 'data_dir'> }, attemptId: string): string {
  return join(context.config.data_dir, 'patches', attemptId.slice(0, 2), `${attemptId}.patch`);
}

/**
 * Takes in what an attempt says it left: the patch is copied, its hash compared, and proved to turn the base into exactly the tree
 * that was recorded. One that holds a secret of this server's is refused as well. Errors: patch_invalid; any other says nothing about the result.
 *
 * @param stated the payload of the recorder's `result` envelope.
 */
export async function takeIn(
  context: RunningContext,
  run: { id: string; mirror: string; base: string },
  attemptId: string,
  stated: string,
): Promise<AttemptResult> {
  const parsed = attemptResult.safeParse(JSON.parse(stated));
  if (!parsed.success)
    throw new AppError('patch_invalid', 'The recorder described its result in a way this server does not know.', {
      cause: parsed.error,
    });
  const result = parsed.data;
  if (result.base !== run.base)
    throw new AppError(
      'patch_invalid',
      `The result is against ${result.base}, not against the run's base ${run.base}.`,
    );
  const target = patchPath(context, attemptId);
  const copy = `${target}.part`;
  try {
    await mkdir(dirname(target), { recursive: true });
    await copyFile(context.runtime.patchFile(attemptId), copy);
    const [sha256, { size }] = [await hashFile(copy), await stat(copy)];
    if (sha256 !== result.patch_sha256 || size !== result.patch_bytes) {
      throw new AppError(
        'patch_invalid',
        `The patch has ${size} bytes and hash ${sha256}; the recorder said ${result.patch_bytes} and ${result.patch_sha256}.`,
      );
    }
    await verifyPatch(context.git, {
      source: context.mirrors.path(run.mirror),
      base: run.base,
      patchFile: copy,
      checkout: await context.checkouts.of(run),
      expectedTree: result.tree,
    });
    const { known, shapes } = await findInPatch(copy, context.secrets.finder());
    if (known !== null) {
      throw new AppError(
        'patch_invalid',
        `The patch holds a secret that agents are not given: ${known.what}, in ${known.path}, line ${known.line}. It is neither kept nor shipped; what the agent left stays in the attempt's folder.`,
      );
    }
    if (shapes.length > 0) result.key_lines = shapes;
    await rename(copy, target);
  } catch (error) {
    await rm(copy, { force: true });
    const known = toAppError(error);
    if (known.code === 'disk_full' || isDiskFull(error)) {
      throw new AppError('disk_full', `There is no room for the patch of an attempt: ${known.message}`, {
        cause: error,
      });
    }
    throw known;
  }
  return result;
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
