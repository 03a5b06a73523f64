import type { BudgetScope } from '../../contract/budget.ts';
import { CallFault } from '../../gateway/dialect.ts';
import type { Account, BudgetRefusal } from './ledger.ts';

/** Budgets in words, for agents and people. */

const whose: Readonly<Record<BudgetScope, string>> = {
  variation: 'The variation’s budget',
  run: 'The run’s budget',
  day: 'The budget of this day (UTC)',
};

/** `The run’s budget of $0.50 and 200000 tokens`. */
function named({ scope, limit }: Account): string {
  const parts = [
    ...(limit.microdollars === null ? [] : [dollars(limit.microdollars)]),
    ...(limit.tokens === null ? [] : [`${limit.tokens} tokens`]),
  ];
  return `${whose[scope]} of ${parts.join(' and ')}`;
}

/** Where an account stands: `The run’s budget of $0.50 is used up ($0.52).` */
export function standingOf(account: Account): string {
  const { limit, used, level } = account;
  const parts = [
    ...(limit.microdollars === null ? [] : [dollars(used.microdollars)]),
    ...(limit.tokens === null ? [] : [`${used.tokens} tokens`]),
  ];
  const far = level === 100 ? 'is used up' : level === 80 ? 'is used to four fifths or more' : 'is in use';
  return `${named(account)} ${far} (${parts.join(' and ')}).`;
}

/** The refusal of a call as its agent hears it: 402 is final, 429 may be tried again. */
export function faultOf(refusal: BudgetRefusal, model: string): CallFault {
  const { account } = refusal;
  switch (refusal.kind) {
    case 'exhausted':
      return new CallFault(402, 'budget_exhausted', `${standingOf(account)} No more model calls are made.`, {
        nothingSpent: true,
      });
    case 'unpriced':
      return new CallFault(
        402,
        'price_unknown',
        `${named(account)} cannot be kept: it is not known what ${model} costs.`,
        { nothingSpent: true },
      );
    case 'busy':
      return new CallFault(
        429,
        'budget_reserved',
        `${named(account)} is set aside for other model calls that are under way.`,
        { nothingSpent: true, retryAfter: '15' },
      );
  }
}

export function dollars(microdollars: number): string {
  const text = (microdollars / 1_000_000).toFixed(6).replace(/(\.\d\d\d*?)0+$/, '$1');
  return `$${text}`;
}
