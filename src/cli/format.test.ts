import { expect, test } from 'vitest';
import {
  allTokens,
  costOf,
  count,
  dateTime,
  duration,
  elapsed,
  lineChange,
  money,
  plural,
  wallClock,
} from './format.ts';

test('money is exact, and unknown is never 0', () => {
  expect([null, 0, 1, 71, 12_300, 12_345, 1_500_000, 12_000_001].map(money)).toEqual([
    '-',
    '$0',
    '$0.000001',
    '$0.000071',
    '$0.0123',
    '$0.012345',
    '$1.5000',
    '$12.000001',
  ]);
});

test('counts stay short', () => {
  expect([null, 0, 999, 1000, 3249, 99_949, 128_400, 999_499, 1_400_000].map(count)).toEqual([
    '-',
    '0',
    '999',
    '1.0k',
    '3.2k',
    '99.9k',
    '128k',
    '999k',
    '1.4M',
  ]);
});

test('durations and clocks', () => {
  expect([null, 0, 420, 9949, 12_300, 59_600, 187_000, 3_723_000].map(duration)).toEqual([
    '-',
    '0.0s',
    '0.4s',
    '9.9s',
    '12s',
    '1:00',
    '3:07',
    '1:02:03',
  ]);
  expect([-5, 5999, 723_000, 3_723_000].map(elapsed)).toEqual(['0:00', '0:05', '12:03', '1:02:03']);
});

test('usage without a call, or with an unknown part, is unknown', () => {
  const usage = {
    calls: 2,
    input_tokens: 10,
    output_tokens: 5,
    cache_read_tokens: 3,
    cache_write_tokens: null,
    cost_microdollars: 7,
  };
  expect(allTokens(usage)).toBe(18);
  expect(allTokens({ ...usage, output_tokens: null })).toBeNull();
  expect(allTokens({ ...usage, calls: 0 })).toBeNull();
  expect(costOf(usage)).toBe(7);
  expect(costOf({ ...usage, calls: 0, cost_microdollars: 0 })).toBeNull();
});

test('lines, plurals, times', () => {
  expect(lineChange(3, 0)).toBe('+3 -0');
  expect(lineChange(null, 0)).toBe('-');
  expect([plural(1, 'file'), plural(0, 'file')]).toEqual(['1 file', '0 files']);
  const local = new Date(2026, 10, 3, 4, 5, 6);
  expect(wallClock(local.toISOString())).toBe('04:05:06');
  expect(dateTime(local.toISOString())).toBe('2026-11-03 04:05');
  expect([wallClock('?'), dateTime('?')]).toEqual(['--:--:--', '-']);
});
