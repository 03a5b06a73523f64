import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../../errors.ts';
import { MAX_PATCH_BYTES } from '../../git/snapshot.ts';
import type { Intake, Pods } from '../pods.ts';
import { diskError } from './disk.ts';
import { openIntake, type OpenIntake } from './intake.ts';
import { podPaths } from './pod-paths.ts';

export interface PodsOptions {
  /** A folder per attempt lies in it, by the attempt's id; the same as the local runtime's. */
  directory: string;
  /** The largest patch that is taken. Default: what a snapshot may make. */
  maxPatchBytes?: number;
}

/** What an attempt's id looks like: nothing else may become a path. */
const ATTEMPT_ID = /^[0-9a-f-]{36}$/;

/** The intakes of a server. Their files are all there is to know: a next server finds the same. */
export function createPods(options: PodsOptions): Pods {
  const opening = new Map<string, Promise<OpenIntake>>();
  const open = new Map<string, OpenIntake>();
  const closing = new Map<string, Promise<void>>();

  function directoryOf(attemptId: string): string {
    if (!ATTEMPT_ID.test(attemptId)) throw new AppError('internal', `${JSON.stringify(attemptId)} is no attempt's id.`);
    return join(options.directory, attemptId);
  }

  async function find(attemptId: string, podUid: string | null): Promise<OpenIntake> {
    // One that is being closed has its files first.
    await closing.get(attemptId);
    try {
      const intake = await openIntake({
        attemptId,
        directory: directoryOf(attemptId),
        podUid,
        maxPatchBytes: options.maxPatchBytes ?? MAX_PATCH_BYTES,
      });
      open.set(attemptId, intake);
      return intake;
    } catch (error) {
      throw diskError(error);
    }
  }

  function close(attemptId: string): Promise<void> {
    const known = opening.get(attemptId);
    if (known === undefined) return closing.get(attemptId) ?? Promise.resolve();
    opening.delete(attemptId);
    open.delete(attemptId);
    const closed = known
      .then(
        (intake) => {
          open.delete(attemptId);
          return intake.close();
        },
        () => undefined,
      )
      .finally(() => closing.delete(attemptId));
    closing.set(attemptId, closed);
    return closed;
  }

  return {
    open: (attemptId, podUid): Promise<Intake> => {
      const known = opening.get(attemptId);
      if (known !== undefined) return known;
      const found = find(attemptId, podUid);
      opening.set(attemptId, found);
      found.catch(() => opening.get(attemptId) === found && opening.delete(attemptId));
      return found;
    },
    get: (attemptId) => open.get(attemptId),
    close,
    remove: async (attemptId) => {
      await close(attemptId);
      await rm(directoryOf(attemptId), { recursive: true, force: true, maxRetries: 3 });
    },
    list: async () => {
      const names = await readdir(options.directory).catch(() => []);
      return names.filter((name) => ATTEMPT_ID.test(name));
    },
    patchFile: (attemptId) => podPaths(directoryOf(attemptId)).patch,
    release: async () => {
      await Promise.all([...opening.keys()].map(close));
    },
  };
}
