import type { Tokens } from './gateway.ts';

/** Tokens as the provider counted them, and what else bears on the price. */
export interface Usage extends Tokens {
  /** Of `cacheWrite`: those kept for an hour (Anthropic), which cost more. */
  cacheWriteHour: number | null;
  /** What was used besides tokens at the usual rate (`service tier priority`, `web search`): no table of ours prices it. */
  beyond: string | null;
}

export const unknownUsage: Usage = {
  input: null,
  output: null,
  cacheRead: null,
  cacheWrite: null,
  cacheWriteHour: null,
  beyond: null,
};
export const noUsage: Usage = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, cacheWriteHour: 0, beyond: null };

export interface Metered {
  usage: Usage;
  /** Whether the answer came to its own end. */
  complete: boolean;
  /** An error that the provider reported in its stream. It may hold a secret: mask it. */
  error: string | null;
}
