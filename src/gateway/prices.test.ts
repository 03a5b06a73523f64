import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { createPrices, loadPrices } from './prices.ts';

const tokens = (
  input: number | null,
  output: number | null,
  cacheRead: number | null = 0,
  cacheWrite: number | null = 0,
) => ({
  input,
  output,
  cacheRead,
  cacheWrite,
});

const entry = { input: 3_000_000, output: 15_000_000, as_of: '2026-01-31', source: 'a contract' };
const tableOf = (models: Record<string, unknown>) => ({ unit: 'micro-dollars per million tokens', models });

function fileOf(content: unknown): string {
  const path = join(tempDir(), 'prices.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

describe('costOf', () => {
  test('adds up what each kind of token costs', () => {
    const prices = loadPrices();
    // 1000 x 3 + 100 x 15 + 2000 x 0.30 + 400 x 3.75 dollars per million
    expect(prices.costOf('anthropic/claude-sonnet-4-5', tokens(1000, 100, 2000, 400))).toBe(3000 + 1500 + 600 + 1500);
    expect(prices.costOf('anthropic/claude-sonnet-4-5-20250929', tokens(1000, 0))).toBe(3000);
    // 300 of the 400 for five minutes, 100 for an hour
    expect(prices.costOf('anthropic/claude-sonnet-4-5', { ...tokens(0, 0, 0, 400), cacheWriteHour: 100 })).toBe(
      1125 + 600,
    );
    expect(prices.costOf('openai/gpt-4o', tokens(1000, 100, 2000, null))).toBe(2500 + 1000 + 2500);
    expect(prices.costOf('openai/gpt-4o', tokens(0, 0))).toBe(0);
  });

  test('rounds half up, once, and stays exact', () => {
    const prices = createPrices({ 'p/m': { input: 500_000, output: 250_000 } });
    expect(prices.costOf('p/m', tokens(1, 0, null, null))).toBe(1);
    expect(prices.costOf('p/m', tokens(0, 1, null, null))).toBe(0);
    expect(prices.costOf('p/m', tokens(1, 1, null, null))).toBe(1);
    expect(prices.costOf('p/m', tokens(3, 0, null, null))).toBe(2);
    const dear = createPrices({ 'p/m': { input: 75_000_001, output: 0 } });
    expect(dear.costOf('p/m', tokens(1_000_000_007, 0))).toBe(75_000_001_525);
  });

  test('is null where it is not known', () => {
    const prices = loadPrices();
    expect(prices.costOf('anthropic/claude-next', tokens(1, 1))).toBeNull();
    expect(prices.costOf('constructor', tokens(1, 1))).toBeNull();
    expect(prices.costOf('openai/gpt-4o', tokens(null, 1))).toBeNull();
    expect(prices.costOf('openai/gpt-4o', tokens(1, null))).toBeNull();
    // It has a price for cached tokens, and nobody says how many there were.
    expect(prices.costOf('openai/gpt-4o', tokens(1, 1, null, null))).toBeNull();
    // There were such tokens, and it has no price for them.
    expect(prices.costOf('openai/gpt-4o', tokens(1, 1, 0, 5))).toBeNull();
    expect(prices.costOf('openai/gpt-4o', { ...tokens(1, 1), beyond: 'service tier flex' })).toBeNull();
  });

  test('is null beyond the size of request that the rate is for', () => {
    const prices = loadPrices();
    expect(prices.costOf('anthropic/claude-sonnet-4-5', tokens(100_000, 0, 100_000, 0))).toBe(330_000);
    expect(prices.costOf('anthropic/claude-sonnet-4-5', tokens(100_000, 0, 100_001, 0))).toBeNull();
  });
});

describe('loadPrices', () => {
  test('lays a table of the user over the built-in one', () => {
    const path = fileOf(
      tableOf({ 'openai/gpt-4o': entry, 'mine/model/with/slashes': { ...entry, also: ['mine/alias'] } }),
    );
    const prices = loadPrices(path);
    expect(prices.costOf('openai/gpt-4o', tokens(1000, 0, null, null))).toBe(3000);
    expect(prices.costOf('mine/model/with/slashes', tokens(1000, 0, null, null))).toBe(3000);
    expect(prices.costOf('mine/alias', tokens(1000, 0, null, null))).toBe(3000);
    expect(prices.costOf('openai/gpt-4o-mini', tokens(1000, 0))).toBe(150);
  });

  test.each([
    ['a rate that is no whole number', tableOf({ 'p/m': { ...entry, input: 1.5 } }), /p\/m > input/],
    ['a negative rate', tableOf({ 'p/m': { ...entry, output: -1 } }), /p\/m > output/],
    ['no date', tableOf({ 'p/m': { ...entry, as_of: 'lately' } }), /p\/m > as_of/],
    ['no source', tableOf({ 'p/m': { ...entry, source: undefined } }), /p\/m > source/],
    ['an unknown field', tableOf({ 'p/m': { ...entry, inputs: 1 } }), /p\/m: .*inputs/],
    ['a model without a provider', tableOf({ m: entry }), /models > m/],
    ['another unit', { unit: 'dollars', models: {} }, /unit/],
    ['no JSON', '{', /is not JSON/],
  ])('refuses %s, naming file and field', (_, content, message) => {
    const path = fileOf(content);
    expect(() => loadPrices(path)).toThrow(
      expect.objectContaining({ code: 'invalid_config', message: expect.stringMatching(message) }),
    );
    expect(() => loadPrices(path)).toThrow(path);
  });

  test('refuses a file that is not there', () => {
    expect(() => loadPrices('/nowhere/prices.json')).toThrow(
      expect.objectContaining({ code: 'invalid_config', message: expect.stringContaining('/nowhere/prices.json') }),
    );
  });
});
