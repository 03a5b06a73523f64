import { createHash, randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Config } from '../config.ts';

/**
 * What a server in the background was started with, as salted hashes: enough for another CLI to see whether it would start
 * the same one, and nothing to read a key from.
 */
export const imprint = z.object({
  salt: z.string(),
  version: z.string(),
  settings: z.string(),
  /** By provider; those with a key only. */
  keys: z.record(z.string(), z.string()),
});
export type Imprint = z.infer<typeof imprint>;

/** The imprint of a server of this configuration. `salt` is given where it is to be compared with another one. */
export function imprintOf(config: Config, version: string, salt = randomBytes(16).toString('hex')): Imprint {
  const hash = (text: string): string => createHash('sha256').update(salt).update(text).digest('hex');
  // Where it listens and who asks is of no account, and the rest of the environment follows the shell, not the person's wish.
  const {
    keys,
    env: _env,
    host: _host,
    port: _port,
    url: _url,
    api_key: _apiKey,
    data_dir: _dir,
    ...settings
  } = config;
  // A server sees by itself that a file has another key.
  const present = Object.entries(keys).flatMap(([name, { key, file }]) =>
    key === null || file !== undefined ? [] : [[name, hash(key)] as const],
  );
  return { salt, version, settings: hash(JSON.stringify(settings)), keys: Object.fromEntries(present) };
}

/**
 * What changed since a server was started, to follow "The server was started before …"; null where a new one would be the same.
 * A key that only the server has is no change: whoever gave it to the server may use it from another terminal.
 */
export function changeSince(old: Imprint, config: Config, version: string): string | null {
  const now = imprintOf(config, version, old.salt);
  for (const [provider, hash] of Object.entries(now.keys)) {
    if (old.keys[provider] === hash) continue;
    return `${keySource(config, provider)} was ${old.keys[provider] === undefined ? 'set' : 'changed'}`;
  }
  if (now.settings !== old.settings) return 'the configuration was changed';
  return now.version === old.version ? null : 'AIdeator was updated';
}

/** Where a provider's key is from, in a person's words: `ANTHROPIC_API_KEY`, `file /path`. */
export function keySource({ keys }: Config, provider: string): string {
  return (keys[provider]?.from ?? `the key of ${provider}`).replace(/^environment /, '');
}
