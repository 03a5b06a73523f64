import { join } from 'node:path';
import { attemptPaths } from '../../agent/claim.ts';

/** What the server keeps of an attempt that runs in a pod, in a directory of the attempt's. */
export function podPaths(directory: string) {
  const { journal, claim, patch } = attemptPaths(directory);
  return {
    /** Numbered lines, dense and in order: the same file in the same place as a local attempt's. */
    journal,
    /** Lines with numbers missing before them. */
    ahead: join(directory, 'ahead.ndjson'),
    /** The pod that has the attempt. */
    claim,
    /** Patches on their way, `<sha256>.part`. */
    upload: join(directory, 'upload'),
    /** The patch that came whole. */
    patch,
  };
}
export type PodPaths = ReturnType<typeof podPaths>;
