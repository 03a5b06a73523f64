import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError } from '../errors.ts';
import type { Tokens } from './gateway.ts';
import type { Usage } from './usage.ts';
import builtin from './prices.json' with { type: 'json' };

const rate = z.int().min(0).max(1_000_000_000_000);

const tokens = z.int().min(1).max(100_000_000);

/** Rates in micro-dollars per million tokens, as integers: 3 dollars per million are 3000000. */
const rates = {
  input: rate,
  output: rate,
  /** null or left out = the model has no such price. */
  cache_read: rate.nullish(),
  cache_write: rate.nullish(),
  /** Cache entries kept for an hour (Anthropic). */
  cache_write_hour: rate.nullish(),
  /** The most tokens of one answer; what a request that names no limit may cost follows from it. */
  max_output_tokens: tokens.nullish(),
  /** The most tokens of one request, where that is known. */
  context_tokens: tokens.nullish(),
};

const price = z.strictObject({
  ...rates,
  /** The rates hold up to this many input tokens of one request, cached ones included; what costs more is not known here. */
  up_to_input_tokens: z.int().min(1).nullish(),
  /** The day for which the rates are known. */
  as_of: z.iso.date(),
  source: z.string().min(1),
  /** Other names of the same model. */
  also: z.array(z.string().min(1)).default([]),
});
export type Price = z.infer<typeof price>;

/** What a script file says of its models' price. */
export const scriptPrice = z.strictObject(rates);
export type Rates = z.infer<typeof scriptPrice>;

const table = z.strictObject({
  unit: z.literal('micro-dollars per million tokens'),
  models: z.record(z.string().regex(/^[^/]+\/.+$/, 'must be <provider>/<model>'), price),
});

export interface PriceTable {
  /** What is known of a model's price; `model` is `<provider>/<model>`. */
  priceOf(model: string): (Rates & { up_to_input_tokens?: number | null | undefined }) | undefined;
  /**
   * The cost of one call in micro-dollars, rounded half up. null where it is not known: the model is not in the table, a
   * token count that has a price is unknown, or something was used that has no price here.
   */
  costOf(model: string, tokens: Tokens & Partial<Usage>): number | null;
}

/**
 * The price table of this repository, with a user's own JSON file laid over it model by model (same form).
 * Errors: invalid_config naming the file and the field.
 */
export function loadPrices(path: string | null = null): PriceTable {
  const own = path === null ? {} : parseTable(readTable(path), path);
  return createPrices({ ...parseTable(builtin, 'prices.json'), ...own });
}

/** A table from rates by `<provider>/<model>`; what it does not have is looked up in `beneath`. */
export function createPrices(entries: Readonly<Record<string, Rates | Price>>, beneath?: PriceTable): PriceTable {
  const priceOf: PriceTable['priceOf'] = (model) =>
    Object.hasOwn(entries, model) ? entries[model] : beneath?.priceOf(model);
  return {
    priceOf,
    costOf(model, tokens) {
      const known = priceOf(model);
      return known === undefined ? null : cost(known, tokens);
    },
  };
}

function cost(price: NonNullable<ReturnType<PriceTable['priceOf']>>, tokens: Tokens & Partial<Usage>): number | null {
  if (tokens.beyond != null) return null;
  const limit = price.up_to_input_tokens ?? Infinity;
  if ((tokens.input ?? 0) + (tokens.cacheRead ?? 0) + (tokens.cacheWrite ?? 0) > limit) return null;
  const hour = tokens.cacheWriteHour ?? 0;
  const charges: Array<readonly [count: number | null, rate: number | null | undefined]> = [
    [tokens.input, price.input],
    [tokens.output, price.output],
    [tokens.cacheRead, price.cache_read],
    [tokens.cacheWrite === null ? null : tokens.cacheWrite - hour, price.cache_write],
    [hour, price.cache_write_hour],
  ];
  let sum = 0n;
  for (const [count, rate] of charges) {
    if (rate == null) {
      // No such price and no such tokens is no charge; tokens without a price are.
      if ((count ?? 0) > 0) return null;
    } else {
      if (count === null) return null;
      sum += BigInt(count) * BigInt(rate);
    }
  }
  return Number((sum + 500_000n) / 1_000_000n);
}

function readTable(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new AppError('invalid_config', `The price table ${path} cannot be read.`, {
      hint: 'Set `prices` to a JSON file that exists, or leave it out.',
      cause: error,
    });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AppError(
      'invalid_config',
      `The price table ${path} is not JSON: ${error instanceof Error ? error.message : String(error)}`,
      {
        hint: 'Mend the place it names.',
        cause: error,
      },
    );
  }
}

function parseTable(value: unknown, path: string): Record<string, Price> {
  const parsed = table.safeParse(value);
  if (!parsed.success) {
    const lines = parsed.error.issues.map(
      (issue) => `${path}: ${issue.path.map(String).join(' > ')}: ${issue.message}`,
    );
    throw new AppError('invalid_config', lines.join('\n'), {
      hint: 'Rates are whole micro-dollars per million tokens (3 dollars = 3000000), `as_of` is a date, `source` says who told.',
      cause: parsed.error,
    });
  }
  const entries: Record<string, Price> = {};
  for (const [model, entry] of Object.entries(parsed.data.models)) {
    for (const name of entry.also) entries[name] = entry;
    entries[model] = entry;
  }
  return entries;
}
