import type { Choice, Gap, Lineage, Run, RunStatusView, RunSummary, Usage, VariationView } from '../contract/api.ts';
import { jobName } from '../contract/pod.ts';
import { isTerminal, type Limits, type RunStatus, type VariationStatus } from '../contract/run.ts';
import type { Selectable } from 'kysely';
import type {
  AttemptsTable,
  ChoicesTable,
  ResultsTable,
  RunsTable,
  ShipmentsTable,
  VariationsTable,
} from '../store/schema.ts';
import { budgetView, type BudgetSums } from './budget/view.ts';
import { summaryOf } from './moves.ts';

type Waiting = VariationView['attempts'][number]['waiting'];

/** Rows of the store as the bodies of the API: pure functions. */

/** A result without its list of files, which may be long. */
export type ResultSummary = Pick<
  Selectable<ResultsTable>,
  'tree' | 'patch_bytes' | 'files' | 'additions' | 'deletions'
>;

export interface RunRows {
  run: Selectable<RunsTable>;
  variations: readonly Selectable<VariationsTable>[];
  attempts: readonly Selectable<AttemptsTable>[];
  usage: ReadonlyMap<number, Usage>;
  /** What the calls of each variation count with, by index. */
  budgets: ReadonlyMap<number, BudgetSums>;
  /** Of the variations that have one, by index. */
  results: ReadonlyMap<number, ResultSummary>;
  choice: Choice | null;
  /** Prompts that wait, by variation. */
  promptsWaiting?: ReadonlyMap<number, number>;
  lastEventId: number;
}

export const noUsage: Usage = {
  calls: 0,
  input_tokens: null,
  output_tokens: null,
  cache_read_tokens: null,
  cache_write_tokens: null,
  cost_microdollars: null,
};

/** Totals. A sum with an unknown part is unknown. */
export function addUsage(parts: readonly Usage[]): Usage {
  const called = parts.filter((part) => part.calls > 0);
  if (called.length === 0) return noUsage;
  const sum = (name: Exclude<keyof Usage, 'calls'>) =>
    called.reduce<number | null>(
      (total, part) => (total === null || part[name] === null ? null : total + part[name]),
      0,
    );
  return {
    calls: called.reduce((total, part) => total + part.calls, 0),
    input_tokens: sum('input_tokens'),
    output_tokens: sum('output_tokens'),
    cache_read_tokens: sum('cache_read_tokens'),
    cache_write_tokens: sum('cache_write_tokens'),
    cost_microdollars: sum('cost_microdollars'),
  };
}

export function summaryView(
  run: Pick<
    Selectable<RunsTable>,
    'id' | 'status' | 'repository' | 'ref' | 'base' | 'prompt' | 'created_at' | 'ended_at'
  >,
  statuses: readonly VariationStatus[],
  choice: Choice | null,
  promptLength = 200,
): RunSummary {
  return {
    run_id: run.id,
    status: run.status as RunStatus,
    summary: summaryOf(run.status as RunStatus, statuses),
    repository: run.repository,
    ref: run.ref,
    base: run.base,
    prompt: run.prompt.length > promptLength ? `${run.prompt.slice(0, promptLength).toWellFormed()}…` : run.prompt,
    counts: countsOf(statuses),
    created_at: run.created_at,
    ended_at: run.ended_at,
    choice,
  };
}

export function runView(rows: RunRows): Run {
  const variations = rows.variations.map((row) => variationView(rows, row));
  return {
    ...summaryView(
      rows.run,
      rows.variations.map((row) => row.status),
      rows.choice,
      Number.MAX_SAFE_INTEGER,
    ),
    max_parallel: rows.run.max_parallel,
    retries: rows.run.retries,
    image: rows.run.image,
    usage: addUsage(variations.map((each) => each.usage)),
    budget: budgetView(rows.run.budget, [...rows.budgets.values()], rows.run.ended_at !== null),
    variations,
    last_event_id: rows.lastEventId,
  };
}

export function variationView(rows: RunRows, row: Selectable<VariationsTable>): VariationView {
  const result = rows.results.get(row.idx);
  return {
    variation_id: row.idx,
    agent: row.agent,
    model: row.model,
    strategy: row.strategy,
    forked_from: lineageOf(rows, row.forked_from),
    status: row.status,
    end_reason: row.end_reason,
    message: row.message,
    queued_at: row.queued_at,
    started_at: row.started_at,
    ended_at: row.ended_at,
    queued_ms: Math.max(
      0,
      Date.parse(row.started_at ?? row.ended_at ?? new Date().toISOString()) - Date.parse(row.queued_at),
    ),
    running_ms: runningMs(row),
    usage: rows.usage.get(row.idx) ?? noUsage,
    files_changed: result?.files ?? null,
    additions: result?.additions ?? null,
    deletions: result?.deletions ?? null,
    patch_url:
      result === undefined || result.patch_bytes === 0
        ? null
        : `/api/v1/runs/${rows.run.id}/variations/${row.idx}/patch`,
    result_attempt: lineageOf(rows, row.result_attempt)?.attempt ?? null,
    prompts_waiting: rows.promptsWaiting?.get(row.idx) ?? 0,
    limits: JSON.parse(row.limits) as Limits,
    budget: budgetView(
      row.budget,
      [rows.budgets.get(row.idx)].filter((each) => each !== undefined),
      row.ended_at !== null,
    ),
    attempts: rows.attempts
      .filter((attempt) => attempt.variation === row.idx)
      .map((attempt) => attemptView(rows, attempt)),
  };
}

/** An attempt's row as people name it. */
export function lineageOf({ attempts }: Pick<RunRows, 'attempts'>, no: number | null): Lineage | null {
  const found = no === null ? undefined : attempts.find((attempt) => attempt.no === no);
  return found === undefined ? null : { variation_id: found.variation, attempt: found.attempt };
}

function attemptView(rows: RunRows, row: Selectable<AttemptsTable>): VariationView['attempts'][number] {
  return {
    attempt: row.attempt,
    attempt_id: row.id,
    continues: lineageOf(rows, row.continues),
    status: row.status,
    end_reason: row.end_reason,
    message: row.message,
    started_at: row.started_at,
    ended_at: row.ended_at,
    last_seq: row.last_seq,
    log_complete: row.log_complete === null ? null : row.log_complete === 1,
    gaps: JSON.parse(row.gaps) as Gap[],
    waiting: row.status === 'starting' && row.waiting !== null ? (JSON.parse(row.waiting) as Waiting) : null,
    job: row.handle?.startsWith('{"job":') === true ? jobName(rows.run.id, row.variation, row.attempt) : null,
    isolation: row.isolation,
  };
}

export function statusView(
  run: Selectable<RunsTable>,
  variations: readonly Selectable<VariationsTable>[],
): RunStatusView {
  const statuses = variations.map((row) => row.status);
  return {
    run_id: run.id,
    status: run.status as RunStatus,
    summary: summaryOf(run.status as RunStatus, statuses),
    counts: countsOf(statuses),
    variations: variations.map((row) => ({
      variation_id: row.idx,
      status: row.status,
      end_reason: row.end_reason,
      message: row.message,
    })),
  };
}

export function choiceView(choice: Selectable<ChoicesTable>, shipments: readonly Selectable<ShipmentsTable>[]): Choice {
  return {
    winning_variation_id: choice.variation,
    reason: choice.reason,
    chosen_at: choice.chosen_at,
    shipped: shipments.map((row) => ({ kind: row.kind, target: row.target, commit: row.commit_id, at: row.at })),
  };
}

export function runningMs(row: Pick<VariationsTable, 'started_at' | 'ended_at'>): number | null {
  if (row.started_at === null) return null;
  return Math.max(0, (row.ended_at === null ? Date.now() : Date.parse(row.ended_at)) - Date.parse(row.started_at));
}

function countsOf(statuses: readonly VariationStatus[]): RunSummary['counts'] {
  const count = (wanted: VariationStatus) => statuses.filter((each) => each === wanted).length;
  return {
    total: statuses.length,
    queued: count('queued'),
    running: statuses.filter((each) => each !== 'queued' && !isTerminal(each)).length,
    succeeded: count('succeeded'),
    failed: count('failed'),
    cancelled: count('cancelled'),
  };
}
