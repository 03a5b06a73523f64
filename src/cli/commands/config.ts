import { defaultLimits } from '../../contract/run.ts';
import { pad, plainLine, widthOf } from '../display.ts';
import type { Session } from '../session.ts';

/** `aideator config`: every setting in force, its value (secrets masked) and where it is from. */
export async function showConfig(session: Session): Promise<number> {
  const { config, origins } = session.load();
  const { keys, env: _env, ...given } = config;
  const settings = { ...given, limits: { ...defaultLimits, ...given.limits } };
  const places = { ...origins };
  // A limit that nobody gave is a default, also where another one was given.
  for (const name of Object.keys(defaultLimits)) if (!(name in given.limits)) places[`limits.${name}`] = 'default';
  const rows = Object.entries(settings).flatMap(([name, value]) => flatten(name, value, places));
  for (const [provider, { key, from }] of Object.entries(keys)) {
    if (from !== null) rows.push({ name: `keys.${provider}`, value: mask(key), from });
  }
  if (session.json) {
    session.printJson(Object.fromEntries(rows.map(({ name, value, from }) => [name, { value, from }])));
    return 0;
  }
  // Nothing is cut here: a value that is too long for the line is better wrapped by the terminal than lost.
  const width = Math.max(...rows.map(({ name }) => widthOf(name)));
  for (const { name, value, from } of rows) {
    const text = plainLine(typeof value === 'string' ? value : JSON.stringify(value));
    const { palette } = session;
    session.print(
      `${pad(name, width)}  ${from === 'default' ? text : palette.bold(text)}  ${palette.dim(`(${from})`)}`,
    );
  }
  return 0;
}

interface Row {
  name: string;
  value: unknown;
  from: string;
}

/** Nested settings as `limits.timeout_seconds`; empty ones stay as they are. */
function flatten(name: string, value: unknown, origins: Record<string, string>, inherited = 'default'): Row[] {
  const from = origins[name] ?? inherited;
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0) {
    return Object.entries(value).flatMap(([key, inner]) => flatten(`${name}.${key}`, inner, origins, from));
  }
  // An agent's environment may well hold a token of the user's.
  const secret = name === 'api_key' || /\.env\.[^.]*(key|token|secret|password)[^.]*$/i.test(name);
  return [{ name, value: secret && typeof value === 'string' ? mask(value) : value, from }];
}

/** A secret as `set (…1234)`: enough to tell two apart. */
function mask(secret: string | null): string {
  if (secret === null) return 'not set';
  return secret.length >= 20 ? `set (…${secret.slice(-4)})` : 'set';
}
