import type { Comparison, Evidence } from '../contract/api.ts';
import type { AttemptResult } from '../contract/attempt.ts';
import type { RunStatus } from '../contract/run.ts';
import { budgetView } from './budget/view.ts';
import type { RunRows } from './views.ts';
import { summaryOf } from './moves.ts';
import { lineageOf, noUsage, runningMs } from './views.ts';

/** Step 4: what can be said of each variation before its code is read, and where they differ. */
export function compareRun(rows: RunRows, found: ReadonlyMap<number, AttemptResult>): Comparison {
  const results = rows.variations.map((row) => ({ row, result: found.get(row.idx) ?? null }));
  const variations = results.map(({ row, result }): Evidence => {
    const latest = rows.attempts.findLast((attempt) => attempt.variation === row.idx);
    return {
      variation_id: row.idx,
      agent: row.agent,
      model: row.model,
      strategy: row.strategy,
      forked_from: lineageOf(rows, row.forked_from),
      status: row.status,
      end_reason: row.end_reason,
      message: row.message,
      result_attempt: lineageOf(rows, row.result_attempt)?.attempt ?? null,
      files: result?.files ?? null,
      additions: result?.additions ?? null,
      deletions: result?.deletions ?? null,
      tests_touched: result === null ? null : result.files.filter((file) => file.test).length,
      not_carried: result?.not_carried ?? [],
      key_lines: result?.key_lines ?? [],
      usage: rows.usage.get(row.idx) ?? noUsage,
      running_ms: runningMs(row),
      log_complete: latest?.log_complete == null ? null : latest.log_complete === 1,
      same_as:
        result === null || result.files.length === 0
          ? []
          : results
              .filter((other) => other.row.idx !== row.idx && other.result?.tree === result.tree)
              .map((other) => other.row.idx),
    };
  });
  return {
    run_id: rows.run.id,
    status: rows.run.status as RunStatus,
    summary: summaryOf(
      rows.run.status as RunStatus,
      rows.variations.map((row) => row.status),
    ),
    base: rows.run.base,
    variations,
    files: filesTouched(variations),
    budget: budgetView(rows.run.budget, [...rows.budgets.values()], rows.run.ended_at !== null),
    choice: rows.choice,
  };
}

/** Paths by how many of the variations with changes touched them. A rename touches both its ends. */
function filesTouched(variations: readonly Evidence[]): Comparison['files'] {
  const changed = variations.filter((each) => each.files !== null && each.files.length > 0);
  const touchedBy = new Map<string, number[]>();
  for (const each of changed) {
    const paths = new Set(
      (each.files ?? []).flatMap((file) =>
        file.status === 'renamed' && file.old_path !== undefined ? [file.path, file.old_path] : [file.path],
      ),
    );
    for (const path of paths) touchedBy.set(path, [...(touchedBy.get(path) ?? []), each.variation_id]);
  }
  const files: Comparison['files'] = { all: [], some: [], one: [] };
  for (const [path, by] of [...touchedBy].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const [first] = by;
    if (by.length === changed.length && changed.length > 1) files.all.push(path);
    else if (by.length > 1) files.some.push({ path, variations: by });
    else if (first !== undefined) files.one.push({ path, variation_id: first });
  }
  return files;
}
