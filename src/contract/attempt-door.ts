import { z } from 'zod';
import { attemptSpec } from './attempt.ts';
import { endReason } from './run.ts';

/**
 * The attempt door, as a recorder in a pod uses it. Every request carries `Authorization: Bearer <the attempt's token>`.
 * Beside it: `/models/…` (gateway) on every door.
 *
 * | request                                         | answer                                                                  |
 * |-------------------------------------------------|-------------------------------------------------------------------------|
 * | POST /attempt/claim {@link claimRequest}        | 200 {@link claimedAttempt}; 409 another pod has it                      |
 * | GET  /attempt/link                              | 200 NDJSON of {@link linkMessage}, without end, one at least every 10 s |
 * | POST /attempt/lines (whole journal lines)       | 200 {@link linesTaken}; 413 more than {@link MAX_LINES_BYTES}           |
 * | GET  /attempt/result/<sha256>                   | 200 {@link resultState}                                                 |
 * | PUT  /attempt/result/<sha256>?offset=N&bytes=T  | 200 {@link resultState}; 409 offset is not what was received (its body says what was); 413 too large; 422 the hash differs, begin anew |
 * | GET  /attempt/work/<sha256>                     | 200 the patch that the work tree starts with; 404 no such patch is this attempt's |
 * | GET  /attempt/prompts?after=N                   | 200 {@link nextPrompt}: the first that waits behind number N            |
 * | GET  /repository/info/refs, POST /repository/git-upload-pack | git smart HTTP, read-only                                  |
 *
 * 403 on any of them: the token is of no attempt that runs; nothing more is wanted of it. Errors are `{error: {type, message}}`.
 */

/** Bytes of one `POST /attempt/lines`. */
export const MAX_LINES_BYTES = 1024 * 1024;
/** How often a link says something, if only that it lives (ms). */
export const LINK_BEAT_MS = 10_000;

export const claimRequest = z.strictObject({ pod_uid: z.string().min(1).max(200) });
export type ClaimRequest = z.infer<typeof claimRequest>;

/** The attempt, for the one pod that runs it: all of its spec but the door, which the pod knows, and where the repository is. */
export const claimedAttempt = attemptSpec
  .omit({ door: true, repository: true })
  .extend({ repository: z.strictObject({ base: attemptSpec.shape.repository.shape.base }) });
export type ClaimedAttempt = z.infer<typeof claimedAttempt>;

export const linkMessage = z.strictObject({
  /** The server has every line up to this seq, on its own disk. */
  have: z.int().min(0).optional(),
  /** The attempt is to stop. */
  stop: endReason.optional(),
  /** Prompts wait, up to this number: they are asked for when a turn has ended. */
  prompt: z.int().min(1).optional(),
});
export type LinkMessage = z.infer<typeof linkMessage>;

export const nextPrompt = z.object({ prompt: z.object({ no: z.int().min(1), text: z.string() }).nullable() });
export type NextPromptAnswer = z.infer<typeof nextPrompt>;

export const linesTaken = z.object({ have: z.int().min(0) });
export type LinesTaken = z.infer<typeof linesTaken>;

export const resultState = z.object({
  received: z.int().min(0),
  /** Whether all of it is there and its hash was found right. */
  complete: z.boolean(),
});
export type ResultState = z.infer<typeof resultState>;
