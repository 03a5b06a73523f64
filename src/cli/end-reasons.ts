import type { EndReason } from '../contract/run.ts';

/** Reasons to end whose name is not what a person would say; at most 21 cells, the width of the live view's column. */
const WORDS: Partial<Record<EndReason, string>> = {
  run_timeout: 'run out of time',
  timeout: 'out of time',
  silent: 'went silent',
  budget_exhausted: 'budget used up',
  agent_missing: 'agent not found',
  unschedulable: 'no node had room',
  admission_refused: 'refused by cluster',
  image_pull_failed: 'image not pulled',
  image_invalid: 'no such image name',
  pod_config_error: 'pod misconfigured',
  init_failed: 'recorder not started',
  oom_killed: 'out of memory',
  evicted: 'evicted by its node',
  preempted: 'preempted',
  node_lost: 'node lost',
  deadline_exceeded: 'Job deadline passed',
  job_deleted: 'Job was deleted',
  terminated: 'ended by platform',
};

/** A reason to end, as tables have it. The API's own name, to look up, is in `show`, `logs` and with `--json`. */
export function reasonWords(reason: string): string {
  return Object.hasOwn(WORDS, reason) ? (WORDS[reason as EndReason] ?? reason) : reason.replaceAll('_', ' ');
}
