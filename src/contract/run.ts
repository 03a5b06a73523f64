import { z } from 'zod';

/** The words for a run, its variations and attempts, and the moves between their states. */

export const RUN_STATUSES = ['queued', 'running', 'completed', 'failed', 'cancelled'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];
export const runStatus = z.enum(RUN_STATUSES);

/** queued -> starting -> running -> finishing (its result is being taken) -> one of the three ends. */
export const VARIATION_STATUSES = [
  'queued',
  'starting',
  'running',
  'finishing',
  'succeeded',
  'failed',
  'cancelled',
] as const;
export type VariationStatus = (typeof VARIATION_STATUSES)[number];
export const variationStatus = z.enum(VARIATION_STATUSES);

/** An attempt has its variation's states, without the queue; `lost` = nobody can say how it ended (its variation fails). */
export const ATTEMPT_STATUSES = [
  'starting',
  'running',
  'finishing',
  'succeeded',
  'failed',
  'cancelled',
  'lost',
] as const;
export type AttemptStatus = (typeof ATTEMPT_STATUSES)[number];

/** Why an attempt ended: a closed list. `end_turn` is the only success. */
export const END_REASONS = [
  'end_turn', // the agent said it was done, and something changed
  'no_changes', // the agent said it was done, and nothing changed
  'max_turns', // the agent's own step limit
  'max_tokens', // the model's output limit
  'refusal', // the model refused
  'timeout', // the variation's time was up
  'run_timeout', // the run's time was up
  'silent', // the agent said nothing for too long
  'output_limit', // the agent said more than the limit
  'disk_limit', // the workspace, HOME or TMPDIR outgrew the limit
  'agent_exit', // the agent's process ended before its turn did
  'agent_missing', // the agent's program could not be started
  'protocol_error', // the agent does not speak ACP
  'provider_auth', // the provider refused the key
  'provider_error', // the provider failed
  'budget_exhausted', // the budget of the variation, the run or the day was used up
  'setup_failed', // the workspace could not be made
  'result_failed', // the result could not be taken or did not verify
  'cancelled', // a person cancelled it
  'superseded', // a person chose another variation and cancelled the rest
  'lost', // the recorder died without a last word
  // In a cluster, each with Kubernetes' own message:
  'unschedulable', // no node could take the pod in time
  'admission_refused', // a quota or an admission rule refused the Job or its pod
  'image_pull_failed', // the image could not be pulled in time
  'image_invalid', // the image's name is not one
  'pod_config_error', // something that the pod names (a Secret, a volume) is missing
  'init_failed', // the recorder's container, or one before it, could not be started
  'oom_killed', // the agent needed more memory than its limit
  'evicted', // the node took the pod away (its disk, its memory, a drain)
  'preempted', // a pod of higher priority took its place
  'node_lost', // the node did not answer any more
  'deadline_exceeded', // the Job's own deadline, a backstop behind `timeout`
  'job_deleted', // somebody deleted the Job or its pod
  'terminated', // the platform ended the pod, and nobody can say why
] as const;
export type EndReason = (typeof END_REASONS)[number];
export const endReason = z.enum(END_REASONS);

const variationMoves: Record<VariationStatus, readonly VariationStatus[]> = {
  queued: ['starting', 'failed', 'cancelled'],
  starting: ['running', 'finishing', 'failed', 'cancelled'],
  running: ['finishing', 'failed', 'cancelled'],
  finishing: ['succeeded', 'failed', 'cancelled'],
  // A follow-up prompt: what it had done stays its result until the next attempt has succeeded, too.
  succeeded: ['queued'],
  failed: ['queued'],
  cancelled: ['queued'],
};

/** Whether a variation may move from one status to another; back to `queued` leads a retry (not from `succeeded`), or a follow-up prompt. */
export function mayMove(from: VariationStatus, to: VariationStatus): boolean {
  return variationMoves[from].includes(to);
}

export function isTerminal(status: VariationStatus | RunStatus | AttemptStatus): boolean {
  switch (status) {
    case 'completed':
    case 'succeeded':
    case 'failed':
    case 'cancelled':
    case 'lost':
      return true;
    case 'queued':
    case 'starting':
    case 'running':
    case 'finishing':
      return false;
  }
}

/**
 * A run's status is derived from its variations, never set: `completed` if at least one succeeded, `failed` only if none
 * did, `cancelled` if it was cancelled; it is over only when all of them are.
 *
 * A run whose every variation was cancelled was cancelled, too.
 *
 * @param cancelRequested whether the run as a whole was cancelled. A run that was cancelled is `cancelled`, even where a
 *   variation had succeeded before (what succeeded stays and can be chosen).
 */
export function deriveRunStatus(variations: readonly VariationStatus[], cancelRequested: boolean): RunStatus {
  if (!variations.every(isTerminal)) return variations.every((status) => status === 'queued') ? 'queued' : 'running';
  if (cancelRequested || variations.every((status) => status === 'cancelled')) return 'cancelled';
  return variations.includes('succeeded') ? 'completed' : 'failed';
}

/** The limits of one variation. Times in seconds, sizes in bytes. */
export const limits = z.strictObject({
  timeout_seconds: z.int().min(1).max(86_400).meta({ description: 'Seconds one attempt may take.' }),
  run_timeout_seconds: z
    .int()
    .min(1)
    .max(604_800)
    .meta({ description: 'Seconds the whole run may take, its time in the queue included.' }),
  start_timeout_seconds: z
    .int()
    .min(1)
    .max(3600)
    .meta({ description: 'Seconds until the agent must have answered ACP initialize.' }),
  silence_seconds: z.int().min(1).max(86_400).meta({ description: 'Seconds without any message from the agent.' }),
  max_output_bytes: z
    .int()
    .min(1024)
    .max(2 ** 32)
    .meta({ description: 'Bytes the agent may print in all.' }),
  max_disk_bytes: z
    .int()
    .min(65_536)
    .max(2 ** 40)
    .meta({ description: 'Bytes its workspace, HOME and TMPDIR may hold.' }),
  max_steps: z.int().min(1).max(10_000).meta({ description: 'Model calls of the built-in agent.' }),
});
export type Limits = z.infer<typeof limits>;

/** What holds where neither run, variation nor configuration says otherwise. */
export const defaultLimits: Limits = {
  timeout_seconds: 1800,
  run_timeout_seconds: 14_400,
  start_timeout_seconds: 60,
  silence_seconds: 900,
  max_output_bytes: 64 * 1024 * 1024,
  max_disk_bytes: 4 * 1024 * 1024 * 1024,
  max_steps: 100,
};
