import { describe, expect, test } from 'vitest';
import type { Comparison, Evidence } from '../contract/api.ts';
import { nextCommands, renderComparison } from './compare-table.ts';
import { widthOf } from './display.ts';
import { noColours } from './palette.ts';

const usage = {
  calls: 3,
  input_tokens: 2900,
  output_tokens: 349,
  cache_read_tokens: null,
  cache_write_tokens: null,
  cost_microdollars: 12_300,
};
const nothing = {
  calls: 1,
  input_tokens: null,
  output_tokens: null,
  cache_read_tokens: null,
  cache_write_tokens: null,
  cost_microdollars: null,
};

function file(path: string) {
  return {
    path,
    status: 'modified' as const,
    additions: 1,
    deletions: 1,
    binary: false,
    old_mode: '100644',
    new_mode: '100644',
    test: path.startsWith('test'),
  };
}

function evidence(index: number, more: Partial<Evidence> = {}): Evidence {
  return {
    variation_id: index,
    agent: 'builtin',
    model: 'anthropic/claude-sonnet-4-5',
    strategy: null,
    forked_from: null,
    result_attempt: 0,
    status: 'succeeded',
    end_reason: 'end_turn',
    message: null,
    files: [file('src/duration.js')],
    additions: 2,
    deletions: 1,
    tests_touched: 0,
    not_carried: [],
    key_lines: [],
    usage,
    running_ms: 12_300,
    log_complete: true,
    same_as: [],
    ...more,
  };
}

const comparison: Comparison = {
  run_id: 'k3xyzabcde',
  status: 'completed',
  summary: '3 of 4 variations succeeded',
  base: 'a'.repeat(40),
  budget: null,
  variations: [
    evidence(0, { strategy: 'smallest-change' }),
    evidence(1, {
      strategy: 'test-first',
      files: [file('src/duration.js'), file('test/duration.test.js')],
      additions: 14,
      deletions: 3,
      tests_touched: 1,
      log_complete: false,
    }),
    evidence(2, {
      strategy: 'edge-cases-first',
      files: [file('src/duration.js'), file('test/duration.test.js'), file('README.md')],
      additions: 31,
      deletions: 6,
      tests_touched: 1,
      not_carried: [{ path: 'vendor', what: 'nested repository' }],
      running_ms: 187_000,
    }),
    evidence(3, {
      strategy: null,
      model: 'openai/gpt-5',
      status: 'failed',
      end_reason: 'provider_auth',
      message: 'The provider openai refused the key (401): invalid x-api-key',
      files: null,
      additions: null,
      deletions: null,
      tests_touched: null,
      usage: nothing,
      running_ms: 1400,
    }),
  ],
  files: {
    all: ['src/duration.js'],
    some: [{ path: 'test/duration.test.js', variations: [1, 2] }],
    one: [{ path: 'README.md', variation_id: 2 }],
  },
  choice: null,
};

const show = (given: Comparison, columns: number): string =>
  `\n${renderComparison(given, columns, noColours).join('\n')}\n`;

test('80 columns', () => {
  expect(show(comparison, 80)).toMatchInlineSnapshot(`
    "
    # variation         outcome        files     +/-  tests  tokens     cost  time
    0 smallest-change   succeeded          1   +2 -1      0    3.2k  $0.0123   12s
        builtin · anthropic/claude-sonnet-4-5
    1 test-first        succeeded          2  +14 -3      1    3.2k  $0.0123   12s
        builtin · anthropic/claude-sonnet-4-5
    2 edge-cases-first  succeeded          3  +31 -6      1    3.2k  $0.0123  3:07
        builtin · anthropic/claude-sonnet-4-5
    3 no strategy       provider auth      -       -      -       -        -  1.4s
        builtin · openai/gpt-5

    1 has gaps: some of what it said was lost; \`aideator show\` says which
    2 leaves out: vendor (nested repository)
    3 failed: The provider openai refused the key (401): invalid x-api-key

    touched by all 3
      src/duration.js
    touched by some
      test/duration.test.js (1, 2)
    touched by one
      README.md (2)
    "
  `);
});

test('40 columns', () => {
  expect(show(comparison, 40)).toMatchInlineSnapshot(`
    "
    # variation        outcome           +/-
    0 smallest-change  succeeded       +2 -1
        builtin · anthropic/claude-sonnet-4…
    1 test-first       succeeded      +14 -3
        builtin · anthropic/claude-sonnet-4…
    2 edge-cases-fir…  succeeded      +31 -6
        builtin · anthropic/claude-sonnet-4…
    3 no strategy      provider auth       -
        builtin · openai/gpt-5

    1 has gaps: some of what it said was
        lost; \`aideator show\` says which
    2 leaves out: vendor (nested
        repository)
    3 failed: The provider openai
        refused the key (401): invalid
        x-api-key

    touched by all 3
      src/duration.js
    touched by some
      test/duration.test.js (1, 2)
    touched by one
      README.md (2)
    "
  `);
});

test('agent and model that all share are said once; equal results and the choice are named', () => {
  const same = {
    ...comparison,
    variations: [
      evidence(0, { strategy: 'smallest-change', same_as: [1] }),
      evidence(1, { strategy: 'test-first', same_as: [0] }),
    ],
    files: { all: ['src/duration.js'], some: [], one: [] },
  };
  const choice = {
    winning_variation_id: 0,
    reason: 'It is the smallest.',
    chosen_at: '',
    shipped: ['1', '2'].map((at) => ({
      kind: 'branch' as const,
      target: 'aideator/k3xyzabcde-0',
      commit: 'b'.repeat(40),
      at,
    })),
  };
  expect(show({ ...same, choice }, 80)).toMatchInlineSnapshot(`
    "
    all by builtin · anthropic/claude-sonnet-4-5
    # variation        outcome    files    +/-  tests  tokens     cost  time
    0 smallest-change  chosen         1  +2 -1      0    3.2k  $0.0123   12s
    1 test-first       succeeded      1  +2 -1      0    3.2k  $0.0123   12s

    same result: 0, 1: the same to the byte

    touched by all 2
      src/duration.js

    chosen: 0: It is the smallest.
    shipped: branch aideator/k3xyzabcde-0 (bbbbbbbbbbbb)
    "
  `);
});

test('no line is wider than the terminal, and no path drives it', () => {
  const paths = Array.from({ length: 40 }, (_, index) => `src/${'deep/'.repeat(index % 9)}\u001b[31m${index}日本.ts`);
  const wild = {
    ...comparison,
    files: { all: paths, some: paths.map((path) => ({ path, variations: [0, 1] })), one: [] },
  };
  for (const columns of [120, 80, 40, 24]) {
    for (const line of renderComparison(wild, columns, noColours)) {
      expect(widthOf(line)).toBeLessThanOrEqual(columns);
      expect(line).not.toContain('\u001b');
    }
  }
  expect(renderComparison(wild, 80, noColours).join('\n')).toContain('and 28 more files');
});

test('where a variation was forked from is seen also where its name is cut', () => {
  const variations = [
    evidence(0, { status: 'failed', end_reason: 'provider_error', additions: 120, deletions: 114 }),
    evidence(1, { strategy: 'edge-cases-first', forked_from: { variation_id: 0, attempt: 0 } }),
  ];
  expect(renderComparison({ ...comparison, variations }, 80, noColours).join('\n')).toMatch(/^1 ← 0 edge-case\S*… /m);
});

describe('next', () => {
  test('before, after choosing, after shipping', () => {
    expect(nextCommands(comparison)).toEqual([
      'aideator compare k3xyzabcde 0 1',
      'aideator choose k3xyzabcde 0 --reason "…"',
      'aideator ship k3xyzabcde',
    ]);
    const choice = { winning_variation_id: 0, reason: null, chosen_at: '', shipped: [] };
    expect(nextCommands({ ...comparison, choice })).toEqual(['aideator ship k3xyzabcde']);
    expect(
      nextCommands({
        ...comparison,
        choice: { ...choice, shipped: [{ kind: 'apply', target: '/r', commit: null, at: '' }] },
      }),
    ).toEqual([]);
  });

  test('where none succeeded: look, and try again', () => {
    expect(nextCommands({ ...comparison, variations: comparison.variations.slice(3) })).toEqual([
      'aideator logs k3xyzabcde',
      'aideator retry k3xyzabcde 3',
    ]);
    const spent = [evidence(0, { status: 'failed', end_reason: 'budget_exhausted' })];
    expect(nextCommands({ ...comparison, variations: spent })).toEqual(['aideator logs k3xyzabcde']);
  });
});
