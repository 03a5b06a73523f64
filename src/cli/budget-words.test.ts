import { expect, test } from 'vitest';
import type { BudgetView } from '../contract/budget.ts';
import { budgetWords, microdollars } from './budget-words.ts';

const nothing: BudgetView = {
  max_cost_microdollars: null,
  max_tokens: null,
  used_microdollars: 0,
  used_tokens: 0,
  reserved_microdollars: 0,
  reserved_tokens: 0,
  largest_reservation_microdollars: 0,
  largest_reservation_tokens: 0,
  assumed_calls: 0,
  unspent_microdollars: null,
};

test.each<[Partial<BudgetView>, string]>([
  [{ max_cost_microdollars: 1_000_000, used_microdollars: 420_000 }, '$0.4200 of $1.0000 used (42 %)'],
  [
    { max_cost_microdollars: 1_000_000, used_microdollars: 420_000, reserved_microdollars: 100_000 },
    '$0.4200 of $1.0000 used (42 %), $0.1000 set aside',
  ],
  [
    { max_cost_microdollars: 1_000_000, used_microdollars: 420_000, unspent_microdollars: 580_000 },
    '$0.4200 of $1.0000 used (42 %); $0.5800 was not spent',
  ],
  [
    { max_tokens: 200_000, used_tokens: 3000, assumed_calls: 1 },
    '3.0k tokens of 200k tokens used (1 %); 1 call that nobody could measure counted with the most it could be',
  ],
])('a budget in words: %j', (budget, words) => {
  expect(budgetWords({ ...nothing, ...budget })).toBe(words);
});

test('dollars are read exactly, and nothing else is', () => {
  expect(['2.50', '2', '0.000001', '$12.34'].map(microdollars)).toEqual([2_500_000, 2_000_000, 1, 12_340_000]);
  for (const wrong of ['', '0', '-1', '1e3', '2,50', '0.0000001', 'lots'])
    expect(() => microdollars(wrong), wrong).toThrow(expect.objectContaining({ code: 'invalid_request' }));
});
