import { describe, expect, it } from 'vitest';
import type { Usage } from '../contract/api.ts';
import type { AttemptResult, FileChange } from '../contract/attempt.ts';
import { END_REASONS } from '../contract/run.ts';
import { compareRun } from './compare.ts';
import { endingOf, isWorthRetrying } from './finish.ts';
import { summaryOf } from './moves.ts';
import { addUsage, type RunRows } from './views.ts';

const file = (path: string, more: Partial<FileChange> = {}): FileChange => ({
  path,
  status: 'modified',
  additions: 1,
  deletions: 0,
  binary: false,
  old_mode: '100644',
  new_mode: '100644',
  test: false,
  ...more,
});

const at = '2026-01-01T00:00:00.000Z';

const resultsOf = (results: (Partial<AttemptResult> | null)[]) =>
  new Map(
    results.flatMap((result, idx): [number, AttemptResult][] =>
      result === null
        ? []
        : [
            [
              idx,
              {
                base: 'b',
                tree: `t${idx}`,
                patch_sha256: '',
                patch_bytes: 1,
                additions: 1,
                deletions: 2,
                files: [],
                not_carried: [],
                ...result,
              },
            ],
          ],
    ),
  );

const compare = (results: (Partial<AttemptResult> | null)[]) => compareRun(rowsOf(results), resultsOf(results));

function rowsOf(results: readonly unknown[]): RunRows {
  return {
    run: {
      no: 1,
      id: 'r',
      repository: '/r',
      mirror: 'm',
      ref: null,
      base: 'b',
      prompt: 'p',
      max_parallel: 8,
      retries: 0,
      limits: '{}',
      status: 'completed',
      created_at: at,
      ended_at: null,
      deadline_at: null,
      cancelled_at: null,
      forget_at: null,
      image: null,
      unsandboxed: 0,
      budget: null,
    },
    variations: results.map((_, idx) => ({
      run: 1,
      idx,
      agent: 'builtin',
      model: 'm/n',
      strategy: null,
      start_from: null,
      forked_from: null,
      instruction: null,
      dialect: 'anthropic',
      limits: '{}',
      status: 'succeeded',
      end_reason: null,
      message: null,
      queued_at: at,
      started_at: at,
      ended_at: '2026-01-01T00:00:02.500Z',
      stop_reason: null,
      retries_left: 0,
      result_attempt: null,
      budget: null,
    })),
    attempts: [],
    budgets: new Map(),
    usage: new Map(),
    results: new Map(),
    choice: null,
    lastEventId: 1,
  };
}

describe('compareRun', () => {
  it('says which files all, some and one of the variations with changes touched; a rename touches both ends', () => {
    const { files } = compare([
      { files: [file('a'), file('b')] },
      { files: [file('a'), file('b'), file('c')] },
      { files: [file('a'), file('d', { status: 'renamed', old_path: 'c2' })] },
      null,
      { files: [] },
    ]);
    expect(files).toEqual({
      all: ['a'],
      some: [{ path: 'b', variations: [0, 1] }],
      one: [
        { path: 'c', variation_id: 1 },
        { path: 'c2', variation_id: 2 },
        { path: 'd', variation_id: 2 },
      ],
    });
  });

  it('names variation 0 like any other when its answer is the same as another’s', () => {
    const { variations } = compare([
      { tree: 'x', files: [file('a', { test: true })] },
      { tree: 'x', files: [file('a')] },
      { tree: 'y', files: [file('a')] },
    ]);
    expect(variations.map((each) => each.same_as)).toEqual([[1], [0], []]);
    expect(variations.map((each) => each.tests_touched)).toEqual([1, 0, 0]);
    expect(variations[0]?.running_ms).toBe(2500);
  });

  it('says null, not nothing, of a variation without a result', () => {
    expect(compare([null]).variations[0]).toMatchObject({
      files: null,
      additions: null,
      tests_touched: null,
      log_complete: null,
    });
  });
});

describe('usage', () => {
  const used = (cost: number | null): Usage => ({
    calls: 1,
    input_tokens: 2,
    output_tokens: 3,
    cache_read_tokens: null,
    cache_write_tokens: 0,
    cost_microdollars: cost,
  });
  it('is unknown as soon as a part is, and never a made-up 0', () => {
    expect(addUsage([used(5), used(6)])).toMatchObject({
      calls: 2,
      input_tokens: 4,
      cost_microdollars: 11,
      cache_read_tokens: null,
      cache_write_tokens: 0,
    });
    expect(addUsage([used(5), used(null)]).cost_microdollars).toBeNull();
    expect(addUsage([])).toMatchObject({ calls: 0, cost_microdollars: null });
  });
});

describe('endings', () => {
  it('has one success, and lets the server’s reason to stop stand over a plain cancel', () => {
    expect(END_REASONS.filter((reason) => endingOf(reason, null, null).status === 'succeeded')).toEqual(['end_turn']);
    expect(endingOf('cancelled', null, 'superseded')).toMatchObject({ status: 'cancelled', reason: 'superseded' });
    expect(endingOf('cancelled', null, 'run_timeout')).toMatchObject({ status: 'failed', reason: 'run_timeout' });
    expect(endingOf('end_turn', null, 'cancelled').status).toBe('succeeded');
    // Stopping cuts the model calls first: an agent may give up because of that before it hears of the stop.
    const refused = 'The provider refused the key';
    expect(endingOf('provider_auth', refused, 'superseded')).toEqual({
      status: 'cancelled',
      reason: 'superseded',
      message: null,
    });
    expect(endingOf('provider_error', 'cut', 'timeout')).toEqual({
      status: 'failed',
      reason: 'timeout',
      message: null,
    });
    expect(endingOf('provider_auth', refused, null)).toMatchObject({ reason: 'provider_auth', message: refused });
  });

  it('never repeats what only costs money', () => {
    expect(END_REASONS.filter((reason) => !isWorthRetrying(reason))).toEqual([
      'end_turn',
      'refusal',
      'run_timeout',
      'agent_missing',
      'provider_auth',
      'budget_exhausted',
      'cancelled',
      'superseded',
      'unschedulable',
      'admission_refused',
      'image_pull_failed',
      'image_invalid',
      'pod_config_error',
      'init_failed',
      'deadline_exceeded',
      'job_deleted',
    ]);
  });

  it('says how many in a partial success', () => {
    expect(summaryOf('completed', ['succeeded', 'failed', 'succeeded'])).toBe('2 of 3 variations succeeded');
    expect(summaryOf('failed', ['failed'])).toBe('0 of 1 variation succeeded');
    expect(summaryOf('running', ['failed', 'running'])).toBe('1 of 2 variations ended');
    expect(summaryOf('cancelled', ['succeeded', 'cancelled'])).toBe('cancelled; 1 of 2 variations had succeeded');
  });
});
