import { describe, expect, test } from 'vitest';
import { widthOf } from './display.ts';
import { render } from './live-view.ts';
import { colours, noColours } from './palette.ts';
import type { RunState, VariationState } from './run-state.ts';

const START = Date.parse('2026-11-23T12:00:00.000Z');

function variation(index: number, more: Partial<VariationState> = {}): VariationState {
  return {
    index,
    agent: 'builtin',
    model: 'anthropic/claude-sonnet-4-5',
    strategy: null,
    status: 'running',
    endReason: null,
    message: null,
    waiting: null,
    startedAt: START,
    endedAt: null,
    calls: 1,
    tokens: 3249,
    cost: 12_300,
    files: null,
    additions: null,
    deletions: null,
    recent: [],
    ...more,
  };
}

function state(variations: VariationState[]): RunState {
  return { runId: 'k3xyzabcde', status: 'running', startedAt: START, endedAt: null, variations };
}

const four = state([
  variation(0, {
    strategy: 'smallest-change',
    status: 'succeeded',
    endedAt: START + 9000,
    additions: 2,
    deletions: 1,
    files: 1,
  }),
  variation(1, {
    strategy: 'test-first',
    recent: [
      {
        kind: 'thinking',
        text: 'The regular expression has no g flag, so that only the first part of a duration is ever read, and',
      },
      { kind: 'tool', text: 'bash: node --test' },
    ],
  }),
  variation(2, {
    strategy: 'edge-cases-first',
    status: 'starting',
    startedAt: START + 11_000,
    calls: 0,
    tokens: 0,
    cost: 0,
  }),
  variation(3, {
    model: 'openai/gpt-5',
    status: 'failed',
    endReason: 'provider_auth',
    endedAt: START + 1500,
    tokens: null,
    cost: null,
  }),
]);

const frame = { columns: 80, rows: 24, now: START + 12_000, palette: noColours, unicode: true };

test('a pod that has to wait says for what, and its clock stands still; an end in a cluster has words', () => {
  const waiting = 'Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available';
  const lines = render(
    state([
      variation(0, {
        status: 'starting',
        startedAt: null,
        calls: 0,
        waiting,
        recent: [{ kind: 'says', text: 'before' }],
      }),
      variation(1, { status: 'failed', endReason: 'oom_killed', endedAt: START }),
    ]),
    frame,
  );
  expect(lines[1]).toMatch(/^. {2}0 .* waiting .* -$/);
  expect(lines[2]).toBe('     waiting: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. preem…');
  expect(lines[3]).toContain('out of memory');
  expect(lines).toHaveLength(4);
});

test('80 columns', () => {
  expect(`\n${render(four, frame).join('\n')}\n`).toMatchInlineSnapshot(`
    "
    run k3xyzabcde  running  0:12  2 of 4 done  6.5k+ tokens  $0.0246+
    ✓  0 smallest-change                   succeeded      +2 -1  3.2k  $0.0123  0:09
    ⠋  1 test-first · claude-sonnet-4-5    running            -  3.2k  $0.0123  0:12
         thinks: The regular expression has no g flag, so that only the first part …
         tool: bash: node --test
    ⠋  2 edge-cases-first                  starting           -     -        -  0:01
    ✗  3 builtin · openai/gpt-5            provider auth      -     -        -  0:01
    "
  `);
});

test('a mix of agents is told apart by them', () => {
  const mix = ['builtin', 'qwen-code'].map((agent, index) => variation(index, { agent, strategy: 'test-first' }));
  const lines = render(state([...mix, variation(2, { agent: 'my-own-agent-with-a-name-that-is-long' })]), frame);
  expect(lines[1]).toContain('  0 test-first · builtin ');
  expect(lines[2]).toContain('  1 test-first · qwen-code ');
  expect(lines[3]).toContain('  2 my-own-agent-with-a-name');
});

test('40 columns', () => {
  expect(`\n${render(four, { ...frame, columns: 40 }).join('\n')}\n`).toMatchInlineSnapshot(`
    "
    run k3xyzabcde  running  0:12  2 of 4 d…
    ✓  0 smallest-change    succeeded   0:09
    ⠋  1 test-first         running     0:12
         thinks: The regular expression has…
         tool: bash: node --test
    ⠋  2 edge-cases-first   starting    0:01
    ✗  3 builtin · gpt-5    provider …  0:01
    "
  `);
});

test('a terminal without Unicode', () => {
  const lines = render(four, { ...frame, unicode: false });
  expect(lines.map((line) => line[0])).toEqual(['r', '+', '|', ' ', ' ', '|', 'x']);
});

describe('room', () => {
  const many = (count: number, more: (index: number) => Partial<VariationState> = () => ({})): RunState =>
    state(
      Array.from({ length: count }, (_, index) =>
        variation(index, {
          recent: [
            { kind: 'says', text: 'one' },
            { kind: 'says', text: 'two' },
          ],
          ...more(index),
        }),
      ),
    );

  test('20 variations in 24 rows: all of them, and what is left for thoughts', () => {
    const lines = render(many(20), frame);
    expect(lines).toHaveLength(23);
    expect(lines.filter((line) => line.startsWith('⠋'))).toHaveLength(20);
    expect(lines.filter((line) => line.startsWith('     says: '))).toHaveLength(2);
  });

  test('32 variations in 24 rows: those that work, and how many are not shown', () => {
    const lines = render(
      many(32, (index) =>
        index < 20 ? { status: 'succeeded' } : { status: index < 30 ? 'running' : 'queued', recent: [] },
      ),
      frame,
    );
    expect(lines.length).toBeLessThanOrEqual(23);
    expect(lines.filter((line) => line.startsWith('⠋'))).toHaveLength(10);
    expect(lines.filter((line) => line.startsWith('·'))).toHaveLength(2);
    expect(lines.at(-1)).toBe('  and 11 more');
  });

  test.each([
    [80, 24],
    [80, 2],
    [40, 10],
    [20, 24],
    [1, 1],
    [200, 50],
  ])('%i columns and %i rows are never exceeded, whatever is said', (columns, rows) => {
    const words = [
      '日本語の文章がとても長い場合でも折り返されない',
      '\u001b[2J\u001b[31mred\u0007',
      'x'.repeat(500),
      '🙂'.repeat(90),
    ];
    const wild = many(9, (index) => ({
      strategy: index % 2 === 0 ? (words[index % 4] ?? '') : null,
      model: words[(index + 1) % 4] ?? '',
      recent: words.slice(0, 2).map((text) => ({ kind: 'says' as const, text })),
    }));
    const lines = render(wild, { ...frame, columns, rows });
    expect(lines.length).toBeLessThanOrEqual(Math.max(2, rows - 1));
    for (const line of lines) {
      expect(widthOf(line)).toBeLessThanOrEqual(columns);
      expect(line).not.toContain('\u001b');
    }
  });
});

test("a cell's colour does not change its place", () => {
  const plain = render(four, frame);
  const painted = render(four, { ...frame, palette: colours });
  expect(painted.join('')).toContain('\u001b[32m✓');
  expect(painted.map((line) => line.replaceAll(/\u001b\[\d+m/g, ''))).toEqual(plain);
});
