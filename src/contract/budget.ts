import { z } from 'zod';

/** What model calls may use: in money, in tokens, or in both. What is reached first counts. */

const amount = z.int().min(1).max(1_000_000_000_000);

export const budget = z
  .strictObject({
    max_cost_microdollars: amount.optional().meta({ description: 'Micro-dollars: 2500000 = $2.50.' }),
    max_tokens: amount.optional().meta({ description: 'Tokens of all kinds, cached ones included.' }),
  })
  .meta({ id: 'Budget' });
export type Budget = z.infer<typeof budget>;

export const BUDGET_SCOPES = ['variation', 'run', 'day'] as const;
export type BudgetScope = (typeof BUDGET_SCOPES)[number];

/**
 * Where a budget stands. What is used and what is reserved never pass a limit together by more than one reservation, the largest
 * of which is said: a call is let through only while they are below the limit. (A provider that bills more than the most it was
 * asked for can pass it, and the event of that call says so.)
 */
export const budgetView = z
  .object({
    max_cost_microdollars: z.int().nullable(),
    max_tokens: z.int().nullable(),
    /** Calls that are over. One that nobody could measure counts with all that was set aside for it. */
    used_microdollars: z.int(),
    used_tokens: z.int(),
    /** Set aside for calls under way: the most they can use. */
    reserved_microdollars: z.int(),
    reserved_tokens: z.int(),
    largest_reservation_microdollars: z.int(),
    largest_reservation_tokens: z.int(),
    /** Calls that are over and that nobody could measure. */
    assumed_calls: z.int(),
    /** What a run that is over left of its money; null while it is not, and where a call could not be measured. */
    unspent_microdollars: z.int().nullable(),
  })
  .meta({ id: 'BudgetView' });
export type BudgetView = z.infer<typeof budgetView>;
