import { z } from 'zod';
import type { Metered } from '../usage.ts';

/** Reads usage out of the parts of one answer, in its dialect. */
export interface Reader {
  /** One event's data, or the whole body. */
  read(data: string, whole: boolean): void;
  result(): Metered;
}

/** More tokens than any model reads or says in one call: a count beyond is no count. */
const MOST = 100_000_000;

/** null for what is no count: negative, broken, text, absurd. */
export const count = z.int().min(0).max(MOST).nullish().catch(null);
export const word = z.string().nullish().catch(null);
export const reportedError = z.looseObject({ type: word, message: word }).nullish().catch(null);

/** The service tiers that are priced as the table says; any other costs more or less. */
export function unusualTier(tier: string | null | undefined): string | null {
  return tier == null || ['default', 'standard', 'auto'].includes(tier) ? null : `service tier ${tier}`;
}

export function describe(
  error: { type?: string | null | undefined; message?: string | null | undefined } | null | undefined,
): string {
  return [error?.type, error?.message].filter((part) => part != null).join(': ') || 'an error without a word';
}

export function parse<Schema extends z.ZodType>(schema: Schema, text: string): z.infer<Schema> | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** OpenAI and Gemini count cached tokens into the input; here each is counted as what it is, so that it is priced as that. */
export function uncached(all: number | null | undefined, ...cached: Array<number | null | undefined>): number | null {
  return all == null
    ? null
    : Math.max(
        0,
        cached.reduce<number>((rest, each) => rest - (each ?? 0), all),
      );
}

/** What OpenAI says of the input. `cache_write_tokens`: source @ai-sdk/openai 4, of models that bill the writing. */
export const inputDetails = z.looseObject({ cached_tokens: count, cache_write_tokens: count }).nullish().catch(null);
