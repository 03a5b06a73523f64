import { CallFault } from './dialect.ts';
import type { Caller } from './gateway.ts';

/**
 * The model (`<provider>/<model>`) that an agent gets for the name it says: the variation's own, by its full name or the
 * provider's, or one that the agent is known to ask for by itself. Errors: 403 model_not_allowed for any other.
 */
export function chooseModel(asked: string, { model, helpers = {} }: Caller): string {
  if (asked === model || asked === model.slice(model.indexOf('/') + 1)) return model;
  const found = Object.hasOwn(helpers, asked) ? helpers[asked] : byPattern(asked, helpers);
  if (found === undefined) {
    throw new CallFault(403, 'model_not_allowed', `This attempt may use ${model}, not ${shorten(asked)}.`);
  }
  return found === 'same' ? model : found;
}

/** The longest pattern that fits, which is the one that says most. */
function byPattern(asked: string, helpers: Readonly<Record<string, string>>): string | undefined {
  const fitting = Object.keys(helpers).filter((key) => key.endsWith('*') && asked.startsWith(key.slice(0, -1)));
  const [best] = fitting.toSorted((a, b) => b.length - a.length);
  return best === undefined ? undefined : helpers[best];
}

/** What an agent says may be of any length, and ends up in messages. */
function shorten(asked: string): string {
  return asked.length > 200 ? `${asked.slice(0, 200).toWellFormed()}…` : asked;
}
