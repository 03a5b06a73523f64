import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { configDir, type Login, serverAddress } from '../config.ts';
import { AppError } from '../errors.ts';

/**
 * What `aideator login` keeps: `<config dir>/login.yaml`, readable by its owner alone. Apart from the configuration file, which
 * people show to others and put under version control.
 */

type Env = Readonly<Record<string, string | undefined>>;

const loginFile = z.strictObject({
  url: z
    .url({ protocol: /^https?$/ })
    .nullable()
    .default(null),
  keys: z.record(z.string(), z.string().min(1)).default({}),
});

const HEAD = '# Written by `aideator login`. It holds keys: do not show it to anybody.\n';

export function loginPath(env: Env): string {
  return join(configDir(env), 'login.yaml');
}

/** What was stored; undefined where nobody logged in. Errors: invalid_config. */
export function readLogin(env: Env): Login | undefined {
  const path = loginPath(env);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw damaged(path, error instanceof Error ? error.message : String(error), error);
  }
  try {
    return { path, ...loginFile.parse(parse(text) ?? {}) };
  } catch (error) {
    // Not the parser's own words: they quote the lines, and a line may be a key.
    throw damaged(path, error instanceof z.ZodError ? z.prettifyError(error) : 'it is not YAML', error);
  }
}

/** Makes a server the one that is talked to. `key` null: it wants none. Errors: invalid_config where it cannot be written. */
export function saveLogin(env: Env, { url, key }: { url: string; key: string | null }): string {
  const { [serverAddress(url)]: _old, ...keys } = readLogin(env)?.keys ?? {};
  const path = loginPath(env);
  write(path, { url, keys: key === null ? keys : { ...keys, [serverAddress(url)]: key } });
  return path;
}

/**
 * Forgets a server and its key; without a URL the one that is talked to. Returns its address, or null where there was none.
 * Errors: invalid_config.
 */
export function dropLogin(env: Env, given?: string): string | null {
  const login = readLogin(env);
  const url = given ?? login?.url ?? null;
  if (login === undefined || url === null) return null;
  const address = serverAddress(url);
  const isCurrent = login.url !== null && serverAddress(login.url) === address;
  if (!isCurrent && !(address in login.keys)) return null;
  const { [address]: _dropped, ...keys } = login.keys;
  const left = { url: isCurrent ? null : login.url, keys };
  if (left.url === null && Object.keys(keys).length === 0) rmSync(login.path, { force: true });
  else write(login.path, left);
  return address;
}

function write(path: string, values: z.infer<typeof loginFile>): void {
  const part = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(part, HEAD + stringify(values), { mode: 0o600 });
    // A part that was left behind may have another mode.
    chmodSync(part, 0o600);
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    throw new AppError(
      'invalid_config',
      `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}.`,
      { hint: 'Mend its folder, or use AIDEATOR_URL and AIDEATOR_API_KEY instead of logging in.', cause: error },
    );
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function damaged(path: string, why: string, cause: unknown): AppError {
  return new AppError('invalid_config', `${path} cannot be used: ${why}`, {
    hint: 'Remove it and log in again: aideator login <url>',
    cause,
  });
}
