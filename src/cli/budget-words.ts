import type { BudgetView } from '../contract/budget.ts';
import { AppError } from '../errors.ts';
import { count, money, plural } from './format.ts';

/** Where a budget stands, in a line: `$0.4200 of $1.0000 used (42 %), $0.1000 set aside; $0.5800 was not spent`. */
export function budgetWords(budget: BudgetView): string {
  const kinds = [
    budget.max_cost_microdollars === null
      ? null
      : standing(budget.used_microdollars, budget.max_cost_microdollars, budget.reserved_microdollars, money),
    budget.max_tokens === null
      ? null
      : standing(budget.used_tokens, budget.max_tokens, budget.reserved_tokens, (tokens) => `${count(tokens)} tokens`),
  ];
  const { unspent_microdollars: unspent, assumed_calls: assumed } = budget;
  return [
    ...kinds.filter((each) => each !== null),
    ...(unspent === null || unspent === 0 ? [] : [`${money(unspent)} was not spent`]),
    ...(assumed === 0
      ? []
      : [`${plural(assumed, 'call')} that nobody could measure counted with the most it could be`]),
  ].join('; ');
}

function standing(used: number, most: number, reserved: number, say: (amount: number) => string): string {
  const aside = reserved === 0 ? '' : `, ${say(reserved)} set aside`;
  return `${say(used)} of ${say(most)} used (${Math.floor((used / most) * 100)} %)${aside}`;
}

/** Dollars as a person writes them, as micro-dollars. Errors: invalid_request. */
export function microdollars(text: string): number {
  const [, whole = '', part = ''] = /^\$?(\d{1,6})(?:\.(\d{1,6}))?$/.exec(text.trim()) ?? [];
  const amount = Number(whole) * 1_000_000 + Number(part.padEnd(6, '0'));
  if (whole === '' || amount === 0) {
    throw new AppError('invalid_request', `--budget ${JSON.stringify(text)} is no sum of money.`, {
      hint: 'Dollars, e.g. --budget 2.50.',
    });
  }
  return amount;
}
