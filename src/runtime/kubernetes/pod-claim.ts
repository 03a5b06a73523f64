import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { diskError, syncFolder } from './disk.ts';

/** Which pod has an attempt: the first that asked, for good. */
export interface PodClaim {
  readonly podUid: string | null;
  /** True where the attempt is this pod's. Stored before it is answered. Errors: disk_full. */
  claim(podUid: string): Promise<boolean>;
}

const claimFile = z.object({ pod_uid: z.string().min(1) });

/** @param known the pod that has it, where its file may be missing */
export async function openClaim(path: string, known: string | null): Promise<PodClaim> {
  const text = await readFile(path, 'utf8').catch(() => null);
  let podUid = text === null ? known : readClaim(text, known);
  let queue: Promise<unknown> = Promise.resolve();

  async function decide(asking: string): Promise<boolean> {
    if (podUid !== null) return podUid === asking;
    const part = `${path}.part`;
    try {
      const file = await open(part, 'w', 0o600);
      try {
        await file.writeFile(`${JSON.stringify({ pod_uid: asking })}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(part, path);
      await syncFolder(dirname(path));
    } catch (error) {
      throw diskError(error);
    }
    podUid = asking;
    return true;
  }

  return {
    get podUid() {
      return podUid;
    },
    claim: (asking) => {
      const decided = queue.then(() => decide(asking));
      queue = decided.catch(() => undefined);
      return decided;
    },
  };
}

function readClaim(text: string, known: string | null): string | null {
  try {
    return claimFile.parse(JSON.parse(text)).pod_uid;
  } catch {
    return known;
  }
}
