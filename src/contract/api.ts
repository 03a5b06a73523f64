import { z } from 'zod';
import { fileChange, keyLine } from './attempt.ts';
import { budget, budgetView } from './budget.ts';
import { dialect } from './dialect.ts';
import { endReason, limits, runStatus, variationStatus } from './run.ts';

/**
 * The public API's bodies. All under `/api/v1`:
 *
 * POST   /runs                               submitRequest -> 202 submitted
 * GET    /runs?cursor&limit&status           -> runPage
 * GET    /runs/{id}                          -> run
 * DELETE /runs/{id}                          cancel, then forget -> 202 while it is being stopped, 204 when gone
 * GET    /runs/{id}/status                   -> runStatusView
 * GET    /runs/{id}/outputs?after&limit&variation_id -> eventPage
 * GET    /runs/{id}/stream?after&variation_id        -> text/event-stream
 * GET    /runs/{id}/compare                  -> comparison
 * GET    /runs/{id}/diff?a=0&b=1             -> text/x-diff: from A's tree to B's
 * POST   /runs/{id}/select                   selectRequest -> run
 * POST   /runs/{id}/ship                     shipRequest -> shipped
 * POST   /runs/{id}/cancel                   -> run
 * POST   /runs/{id}/variations               forkRequest -> 202 forked: a new one from another's work and conversation
 * GET    /runs/{id}/variations/{v}           -> variation
 * POST   /runs/{id}/variations/{v}/prompts   promptRequest -> 202 prompted: what it is to do next
 * GET    /runs/{id}/variations/{v}/patch     -> text/x-diff, the exact bytes
 * POST   /runs/{id}/variations/{v}/cancel    -> run
 * POST   /runs/{id}/variations/{v}/retry     -> 202 run
 * GET    /info                               -> info
 * GET    /doctor?probe                       -> doctorReport: what is missing where attempts run
 * GET|POST /keys, DELETE /keys/{id}          keyList | createKey -> createdKey   (scope admin)
 *
 * Beside it: /healthz, /readyz, /metrics, /openapi.json, /docs.
 * Errors are `problem` documents (RFC 9457). Names in bodies are snake_case; times UTC with milliseconds; money integer
 * micro-dollars; null = unknown.
 */
export const MAX_PROMPT_BYTES = 1024 * 1024;
export const MAX_VARIATIONS = 32;
export const MAX_BODY_BYTES = 4 * 1024 * 1024;

const name = z.string().min(1).max(200);
/** Whose work tree and conversation something goes on from; null = it began anew, from the run's base and prompt. */
export const lineage = z.object({ variation_id: z.int(), attempt: z.int() }).meta({ id: 'Lineage' });
export type Lineage = z.infer<typeof lineage>;

/** What one variation is to be; what is left out comes from the run. */
export const variationRequest = z.strictObject({
  agent: name.optional(),
  model: name.optional().meta({ description: '`<provider>/<model>`, e.g. anthropic/claude-sonnet-4-5' }),
  strategy: name.optional(),
  dialect: dialect
    .optional()
    .meta({ description: 'Protocol the agent speaks; follows from agent and provider when left out.' }),
  limits: limits.omit({ run_timeout_seconds: true }).partial().optional(),
  budget: budget.optional(),
});
export type VariationRequest = z.infer<typeof variationRequest>;

export const submitRequest = z
  .strictObject({
    repository: z.string().min(1).max(4096).meta({ description: 'A path on the server or any URL git can clone.' }),
    ref: z.string().min(1).max(1024).optional().meta({ description: 'Branch, tag or commit; HEAD when left out.' }),
    prompt: z.string().meta({ description: `At most ${MAX_PROMPT_BYTES} bytes of UTF-8.` }),
    variations: z
      .union([z.int(), z.array(variationRequest)])
      .default(3)
      .meta({ description: `How many (1 to ${MAX_VARIATIONS}), or each one.` }),
    agent: name.optional(),
    models: z
      .array(name)
      .max(MAX_VARIATIONS)
      .optional()
      .meta({ description: 'With a number of variations: taken in turn.' }),
    strategies: z
      .array(name)
      .max(MAX_VARIATIONS)
      .optional()
      .meta({ description: 'With a number of variations: taken in turn.' }),
    max_parallel: z.int().min(1).max(MAX_VARIATIONS).optional(),
    retries: z
      .int()
      .min(0)
      .max(5)
      .default(0)
      .meta({ description: 'How often a failed variation is tried again by itself.' }),
    limits: limits.partial().optional(),
    budget: budget.optional().meta({
      description: 'What all variations may use together; a model without a price takes a limit in tokens only.',
    }),
    sandbox: z.boolean().optional().meta({
      description:
        'On one machine: false = agents run with the rights of the user who runs the server. Left out = in a sandbox, unless the configuration says otherwise.',
    }),
    image: z
      .string()
      .min(1)
      .max(512)
      .optional()
      .meta({ description: 'In a cluster: the image that the agents work in; one of those the server allows.' }),
  })
  .meta({ id: 'SubmitRequest' });
export type SubmitRequest = z.infer<typeof submitRequest>;
export type SubmitInput = z.input<typeof submitRequest>;

export const usage = z
  .object({
    calls: z.int(),
    input_tokens: z.int().nullable(),
    output_tokens: z.int().nullable(),
    cache_read_tokens: z.int().nullable(),
    cache_write_tokens: z.int().nullable(),
    /** null as soon as one call's price is unknown; 0 only if it really cost nothing. */
    cost_microdollars: z.int().nullable(),
  })
  .meta({ id: 'Usage' });
export type Usage = z.infer<typeof usage>;

/** Sequence numbers that never arrived. */
export const gap = z.object({ from_seq: z.int(), to_seq: z.int().nullable(), reason: z.string() }).meta({ id: 'Gap' });
export type Gap = z.infer<typeof gap>;

export const attemptView = z
  .object({
    attempt: z.int(),
    attempt_id: z.string(),
    continues: lineage.nullable(),
    status: z.string(),
    end_reason: endReason.nullable(),
    message: z.string().nullable(),
    started_at: z.string(),
    ended_at: z.string().nullable(),
    last_seq: z.int(),
    /** Whether every event up to the recorder's last word is stored and its hash fits; null while it runs. */
    log_complete: z.boolean().nullable(),
    gaps: z.array(gap),
    /** Why it has not begun, while it has not; null where nothing is known to be in its way. */
    waiting: z.object({ reason: z.string(), message: z.string(), since: z.string() }).nullable(),
    /** The name of its Kubernetes Job, in a cluster. */
    job: z.string().nullable(),
    isolation: z.string().meta({
      description: 'What kept it apart, in words, e.g. `process: the rights of the user who runs the server`.',
    }),
  })
  .meta({ id: 'Attempt' });
export type AttemptView = z.infer<typeof attemptView>;

export const variation = z
  .object({
    variation_id: z.int(),
    agent: z.string(),
    model: z.string(),
    strategy: z.string().nullable(),
    forked_from: lineage.nullable(),
    status: variationStatus,
    end_reason: endReason.nullable(),
    message: z.string().nullable(),
    queued_at: z.string(),
    started_at: z.string().nullable(),
    ended_at: z.string().nullable(),
    /** Two clocks: waiting and working, in milliseconds. */
    queued_ms: z.int(),
    running_ms: z.int().nullable(),
    usage,
    files_changed: z.int().nullable(),
    additions: z.int().nullable(),
    deletions: z.int().nullable(),
    patch_url: z.string().nullable(),
    /** The attempt whose result this is: the last that succeeded, else the last that left one. */
    result_attempt: z.int().nullable(),
    /** Prompts that it was not given yet. */
    prompts_waiting: z.int(),
    limits,
    budget: budgetView.nullable(),
    attempts: z.array(attemptView),
  })
  .meta({ id: 'Variation' });
export type VariationView = z.infer<typeof variation>;

export const choice = z
  .object({
    winning_variation_id: z.int(),
    reason: z.string().nullable(),
    chosen_at: z.string(),
    shipped: z.array(
      z.object({
        kind: z.enum(['branch', 'apply']),
        target: z.string(),
        commit: z.string().nullable(),
        at: z.string(),
      }),
    ),
  })
  .meta({ id: 'Choice' });
export type Choice = z.infer<typeof choice>;

const counts = z.object({
  total: z.int(),
  queued: z.int(),
  running: z.int(),
  succeeded: z.int(),
  failed: z.int(),
  cancelled: z.int(),
});

export const runSummary = z
  .object({
    run_id: z.string(),
    status: runStatus,
    /** In words: `3 of 4 variations succeeded`. */
    summary: z.string(),
    repository: z.string(),
    ref: z.string().nullable(),
    base: z.string(),
    prompt: z.string().meta({ description: 'In lists: the first 200 characters.' }),
    counts,
    created_at: z.string(),
    ended_at: z.string().nullable(),
    choice: choice.nullable(),
  })
  .meta({ id: 'RunSummary' });
export type RunSummary = z.infer<typeof runSummary>;

export const run = runSummary
  .extend({
    max_parallel: z.int(),
    retries: z.int(),
    image: z.string().nullable(),
    usage,
    budget: budgetView.nullable(),
    variations: z.array(variation),
    /** The id of the run's last event so far: `?after=` of a reader that wants only what is new. */
    last_event_id: z.int(),
  })
  .meta({ id: 'Run' });
export type Run = z.infer<typeof run>;

export const submitted = z
  .object({
    run_id: z.string(),
    status: runStatus,
    stream_url: z.string(),
    status_url: z.string(),
    base: z.string(),
    isolation: z.string().meta({ description: 'What keeps its agents apart, in words.' }),
    jobs: z.array(z.string()).optional(),
    notes: z.array(z.string()).optional().meta({ description: 'What is worth knowing before it costs money.' }),
  })
  .meta({ id: 'Submitted' });
export type Submitted = z.infer<typeof submitted>;

export const runPage = z
  .object({ runs: z.array(runSummary), next_cursor: z.string().nullable() })
  .meta({ id: 'RunPage' });
export type RunPage = z.infer<typeof runPage>;

export const runStatusView = z
  .object({
    run_id: z.string(),
    status: runStatus,
    summary: z.string(),
    counts,
    variations: z.array(
      z.object({
        variation_id: z.int(),
        status: variationStatus,
        end_reason: endReason.nullable(),
        message: z.string().nullable(),
      }),
    ),
  })
  .meta({ id: 'RunStatus' });
export type RunStatusView = z.infer<typeof runStatusView>;

export const event = z
  .object({ id: z.int(), type: z.string(), data: z.record(z.string(), z.unknown()) })
  .meta({ id: 'Event' });
export type Event = z.infer<typeof event>;

export const eventPage = z.object({ events: z.array(event), next_after: z.int().nullable() }).meta({ id: 'EventPage' });
export type EventPage = z.infer<typeof eventPage>;

/** What can be said of a variation before its code is read. */
export const evidence = z
  .object({
    variation_id: z.int(),
    agent: z.string(),
    model: z.string(),
    strategy: z.string().nullable(),
    forked_from: lineage.nullable(),
    status: variationStatus,
    end_reason: endReason.nullable(),
    message: z.string().nullable(),
    /** The attempt whose result is compared; null = none. */
    result_attempt: z.int().nullable(),
    /** null = no result was taken (yet). */
    files: z.array(fileChange).nullable(),
    additions: z.int().nullable(),
    deletions: z.int().nullable(),
    tests_touched: z.int().nullable(),
    not_carried: z.array(z.object({ path: z.string(), what: z.string() })),
    /** Added lines that look like a key: to be looked at before it is shipped. At most 20. */
    key_lines: z.array(keyLine),
    usage,
    running_ms: z.int().nullable(),
    log_complete: z.boolean().nullable(),
    /** Variations whose resulting tree is the same to the byte. */
    same_as: z.array(z.int()),
  })
  .meta({ id: 'Evidence' });
export type Evidence = z.infer<typeof evidence>;

export const comparison = z
  .object({
    run_id: z.string(),
    status: runStatus,
    summary: z.string(),
    base: z.string(),
    variations: z.array(evidence),
    /** Over the variations that have a result with changes. */
    files: z.object({
      all: z.array(z.string()),
      some: z.array(z.object({ path: z.string(), variations: z.array(z.int()) })),
      one: z.array(z.object({ path: z.string(), variation_id: z.int() })),
    }),
    budget: budgetView.nullable(),
    choice: choice.nullable(),
  })
  .meta({ id: 'Comparison' });
export type Comparison = z.infer<typeof comparison>;

export const selectRequest = z
  .strictObject({
    winning_variation_id: z.int().min(0),
    reason: z.string().max(10_000).optional(),
    /** Needed to change a choice that was made. */
    force: z.boolean().default(false),
    /** Cancel what still runs. */
    cancel_rest: z.boolean().default(false),
  })
  .meta({ id: 'SelectRequest' });
export type SelectRequest = z.infer<typeof selectRequest>;

export const shipRequest = z
  .strictObject({
    kind: z
      .enum(['branch', 'apply'])
      .meta({ description: 'branch: a new branch with one commit; apply: onto the work tree of a local repository.' }),
    /** Default: aideator/<run>-<variation>. */
    branch: z.string().min(1).max(200).optional(),
    message: z
      .string()
      .max(10_000)
      .optional()
      .meta({ description: 'Commit message; made from prompt and run when left out.' }),
    /** Default: the chosen one. */
    variation_id: z.int().min(0).optional(),
    /** Move an existing branch. */
    force: z.boolean().default(false),
  })
  .meta({ id: 'ShipRequest' });
export type ShipRequest = z.infer<typeof shipRequest>;

export const shipped = z
  .object({
    run_id: z.string(),
    variation_id: z.int(),
    kind: z.enum(['branch', 'apply']),
    branch: z.string().nullable(),
    commit: z.string().nullable(),
    repository: z.string(),
    files: z.int(),
  })
  .meta({ id: 'Shipped' });
export type Shipped = z.infer<typeof shipped>;
