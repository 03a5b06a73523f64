import { join } from 'node:path';
import { pod } from '../../contract/pod.ts';
import type { PlacePaths } from '../place.ts';

/** Where a test, which has no containers, puts the pod's file system: a folder that stands for `/`. Never set in a pod. */
export const ROOT_VARIABLE = 'AIDEATOR_POD_ROOT';

export interface PodPaths extends PlacePaths {
  /** The base, fetched from the attempt door. */
  repository: string;
  /** The recorder's own TMPDIR. */
  ownTmp: string;
  /** Everything of the recorder's. */
  own: string;
  socket: string;
  token: string;
  terminationLog: string;
  cgroup: string;
}

/** What lies where in a pod, as both containers see it. */
export function podPaths(root: string | undefined): PodPaths {
  const at = (path: string): string => (root === undefined || root === '' ? path : join(root, path));
  const own = (name: string): string => join(at(pod.journal), name);
  return {
    own: at(pod.journal),
    journal: own('journal.ndjson'),
    reserve: own('reserve'),
    snapshot: own('snapshot.git'),
    patch: own('result.patch'),
    recorderLog: own('recorder.log'),
    repository: own('repository.git'),
    ownTmp: own('tmp'),
    workspace: at(pod.tree),
    home: at(pod.home),
    tmp: at(pod.tmp),
    socket: at(pod.socket),
    token: at(pod.token),
    terminationLog: at('/dev/termination-log'),
    cgroup: at('/sys/fs/cgroup'),
  };
}
