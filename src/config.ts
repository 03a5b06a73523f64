import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { agentEntry, name, provider, sandbox } from './config-entries.ts';
import { budget } from './contract/budget.ts';
import { kubernetesSettings } from './contract/kubernetes.ts';
import { limits } from './contract/run.ts';
import { AppError } from './errors.ts';

/**
 * Configuration by one schema: defaults < login < file < environment `AIDEATOR_*` < flags. Read once, frozen. The only file that
 * reads `process.env`. An unknown name, anywhere, is an error.
 */

const port = z.coerce.number().int().min(0).max(65_535);

export const configSchema = z.strictObject({
  host: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .meta({ description: 'Address to listen on. Beyond loopback an API key is needed.' }),
  port: port.default(8000).meta({ description: 'Port to listen on; 0 = any free one.' }),
  allowed_hosts: z
    .array(z.string())
    .default([])
    .meta({ description: 'More Host names under which the loopback server answers.' }),
  url: z
    .url({ protocol: /^https?$/ })
    .nullable()
    .default(null)
    .meta({ description: 'The server the CLI talks to; none = the one of the data directory, started when needed.' }),
  api_key: z.string().nullable().default(null).meta({ description: 'The key the CLI presents.' }),
  data_dir: z.string().min(1).default('').meta({ description: 'Database, mirrors, attempts.' }),
  log_level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
  runtime: z
    .enum(['local', 'kubernetes'])
    .default('local')
    .meta({ description: 'Where attempts execute: processes of this machine, or Jobs.' }),
  door_host: z.string().min(1).default('0.0.0.0').meta({ description: 'kubernetes: where the attempt door listens.' }),
  door_port: port.default(8001).meta({ description: 'kubernetes: the attempt door’s port; 0 = any free one.' }),
  door_url: z
    .url({ protocol: /^https?$/ })
    .nullable()
    .default(null)
    .meta({ description: 'kubernetes: the attempt door as pods reach it.' }),
  admin_key_file: z
    .string()
    .nullable()
    .default(null)
    .meta({ description: 'File that holds an API key of scope admin.' }),
  kubernetes: kubernetesSettings.prefault({}),
  synchronous: z.enum(['normal', 'full']).default('normal').meta({
    description:
      'SQLite: full = every commit survives a power cut; normal = every commit survives a crash of the program.',
  }),
  max_parallel: z.coerce
    .number()
    .int()
    .min(1)
    .max(1000)
    .default(8)
    .meta({ description: 'Attempts at once, all runs together.' }),
  agents_dir: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ description: 'Where `aideator agents install` puts agents; none = `agents` in the data directory.' }),
  default_agent: name.default('builtin'),
  default_model: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ description: '<provider>/<model>, or a name under `models`; none = chosen from the keys that are there.' }),
  prices: z
    .string()
    .nullable()
    .default(null)
    .meta({ description: 'A price table of your own (JSON), laid over the built-in one.' }),
  keep_workspaces: z
    .stringbool()
    .or(z.boolean())
    .default(false)
    .meta({ description: 'Keep workspace, HOME and TMPDIR of ended attempts.' }),
  limits: limits.partial().default({}),
  sandbox: sandbox.prefault({}).meta({ description: 'What agents may reach.' }),
  budget: z
    .strictObject({ run: budget.optional(), variation: budget.optional(), day: budget.optional() })
    .default({})
    .meta({
      description: 'What model calls may use: for runs and variations that say nothing, and all in one UTC day.',
    }),
  providers: z.record(name, provider).default({}),
  models: z
    .record(name, z.string().regex(/^[^/]+\/.+$/, 'must be <provider>/<model>'))
    .default({})
    .meta({ description: 'Names of your own for models: `fast: anthropic/claude-haiku-4-5`.' }),
  agents: z.record(name, agentEntry).default({}),
  strategies: z.record(name, z.strictObject({ instruction: z.string().min(1).max(20_000) })).default({}),
});

export type Config = Readonly<z.infer<typeof configSchema>> & {
  /** Provider keys by provider name, resolved from environment and files: never printed, never stored. */
  readonly keys: Readonly<Record<string, { key: string | null; from: string | null; file?: string }>>;
  /** The environment that git may have for the user's own remotes (SSH agent, credential helpers). */
  readonly env: Readonly<Record<string, string | undefined>>;
};

/** Where a setting's value comes from: `default`, `login <path>`, `file <path>`, `environment <NAME>` or `flag`. */
export type Origins = Record<string, string>;

const wellKnownProviders = {
  anthropic: { kind: 'anthropic', base_url: 'https://api.anthropic.com', key_env: 'ANTHROPIC_API_KEY' },
  openai: { kind: 'openai', base_url: 'https://api.openai.com/v1', key_env: 'OPENAI_API_KEY' },
  gemini: { kind: 'gemini', base_url: 'https://generativelanguage.googleapis.com', key_env: 'GEMINI_API_KEY' },
} as const;

/** Names under AIDEATOR_ that are not settings: they are set by us for our own child processes. */
const NOT_SETTINGS = new Set([
  'AIDEATOR_CONFIG',
  'AIDEATOR_ATTEMPT',
  'AIDEATOR_BASE_URL',
  'AIDEATOR_MODEL',
  'AIDEATOR_DIALECT',
  'AIDEATOR_MAX_STEPS',
  'AIDEATOR_THINKING',
  'AIDEATOR_CONTEXT_TOKENS',
]);

/** Settings within `kubernetes` that the environment may name: where the cluster is, and what its pods run. */
const CLUSTER = ['namespace', 'kubeconfig', 'context', 'image'] as const;

/** What no one variable can hold. */
const GROUPS = /^(?:limits|budget|providers|models|agents|strategies|allowed_hosts|kubernetes|sandbox)$/;

type Place = readonly [string] | readonly ['limits' | 'kubernetes' | 'sandbox', string];
const environmentSettings: Record<string, Place> = Object.fromEntries([
  ...Object.entries(configSchema.shape)
    .filter(([key]) => !GROUPS.test(key))
    .map(([key]) => [`AIDEATOR_${key.toUpperCase()}`, [key] as const]),
  ...Object.keys(limits.shape).map((key) => [`AIDEATOR_LIMITS_${key.toUpperCase()}`, ['limits', key] as const]),
  ['AIDEATOR_SANDBOX_MODE', ['sandbox', 'mode'] as const],
  ...CLUSTER.map((key) => [`AIDEATOR_KUBERNETES_${key.toUpperCase()}`, ['kubernetes', key] as const]),
]);

/** Servers that the CLI was logged in to. */
export interface Login {
  path: string;
  /** The one that is talked to where none is named. */
  url: string | null;
  /** The key of each, by {@link serverAddress}. */
  keys: Readonly<Record<string, string>>;
}

export interface ConfigSources {
  /** Values from flags, by setting name; undefined = not given. */
  flags?: Record<string, unknown>;
  /** Defaults to the process's environment. */
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** What `aideator login` stored; a server has none. */
  login?: Login | undefined;
  /** The file named by a flag; else AIDEATOR_CONFIG, else <config dir>/aideator/config.yaml where it exists. */
  file?: string | undefined;
}

/**
 * Reads the configuration. Errors: invalid_config, naming the setting, where it came from and what would be right.
 */
export function loadConfig(sources: ConfigSources = {}): { config: Config; origins: Origins } {
  const env = sources.env ?? process.env;
  const cwd = sources.cwd ?? process.cwd();
  const origins: Origins = Object.fromEntries(Object.keys(configSchema.shape).map((key) => [key, 'default']));
  const values: Record<string, unknown> = {};

  const file = readConfigFile(sources.file ?? env['AIDEATOR_CONFIG'], env, cwd);
  for (const [key, value] of Object.entries(file?.values ?? {})) {
    values[key] = value;
    origins[key] = `file ${file?.path}`;
  }
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('AIDEATOR_') || text === undefined || NOT_SETTINGS.has(variable)) continue;
    const path = environmentSettings[variable];
    if (path === undefined) {
      throw new AppError('invalid_config', `The environment has ${variable}, which is not a setting of AIdeator.`, {
        hint: `${suggest(variable, Object.keys(environmentSettings))}\`aideator config\` lists all settings. Unset it if it is not meant for AIdeator.`,
      });
    }
    if (path.length === 1) {
      values[path[0]] = text;
      origins[path[0]] = `environment ${variable}`;
    } else {
      const [group, key] = path;
      const before = values[group];
      values[group] = { ...(isRecord(before) ? before : {}), [key]: group === 'limits' ? Number(text) : text };
      origins[`${group}.${key}`] = `environment ${variable}`;
      if (group === 'limits') origins[group] = `environment ${variable}`;
    }
  }
  for (const [key, value] of Object.entries(sources.flags ?? {})) {
    if (value === undefined) continue;
    values[key] = value;
    origins[key] = 'flag';
  }
  if (sources.login !== undefined) addLogin(values, origins, sources.login, sources.flags?.['data_dir'] === undefined);

  if (values['data_dir'] === undefined || values['data_dir'] === '') values['data_dir'] = defaultDataDir(env);
  if (typeof values['data_dir'] === 'string') values['data_dir'] = resolve(cwd, values['data_dir']);

  if (typeof values['agents_dir'] === 'string') values['agents_dir'] = resolve(cwd, values['agents_dir']);

  const parsed = configSchema.safeParse(values);
  if (!parsed.success) throw invalid(parsed.error, origins);
  const settings = parsed.data;
  const providers: Record<string, z.infer<typeof provider>> = { ...wellKnownProviders };
  for (const [key, entry] of Object.entries(settings.providers)) {
    providers[key] = key in wellKnownProviders ? { ...providers[key], ...entry } : entry;
  }
  for (const [key, value] of Object.entries({ ...settings, providers })) markDefaults(key, values[key], value, origins);
  return {
    config: Object.freeze({ ...settings, providers, keys: readKeys(providers, env, cwd), env: { ...env } }),
    origins,
  };
}

/** What a setting that was given says nothing of has its default. */
function markDefaults(name: string, given: unknown, value: unknown, origins: Origins): void {
  if (!isRecord(given) || !isRecord(value)) return;
  for (const [key, inner] of Object.entries(value)) {
    if (given[key] === undefined) origins[`${name}.${key}`] ??= 'default';
    else markDefaults(`${name}.${key}`, given[key], inner, origins);
  }
}

/**
 * The server that was logged in to, where none is named, and its key, where none is given. A key goes to the server it was made
 * for and to no other, whatever `--url` says.
 */
function addLogin(values: Record<string, unknown>, origins: Origins, login: Login, mayName: boolean): void {
  const from = `login ${login.path}`;
  // --data-dir means a server of this machine.
  if (mayName && values['url'] === undefined && login.url !== null) {
    values['url'] = login.url;
    origins['url'] = from;
  }
  const { url } = values;
  const key = typeof url === 'string' ? login.keys[serverAddress(url)] : undefined;
  if (values['api_key'] !== undefined || key === undefined) return;
  values['api_key'] = key;
  origins['api_key'] = from;
}

/** A server's address in one spelling, to compare: no trailing slash, no query; what is no URL stays as it is. */
export function serverAddress(url: string): string {
  if (!URL.canParse(url)) return url;
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/+$/, '');
}

function readKeys(
  providers: Config['providers'],
  env: Record<string, string | undefined>,
  cwd: string,
): Config['keys'] {
  const keys: Record<string, { key: string | null; from: string | null; file?: string }> = {};
  for (const [providerName, entry] of Object.entries(providers)) {
    if (entry.key_file !== undefined) {
      const path = resolve(cwd, entry.key_file);
      const key = readKeyFile(`providers.${providerName}.key_file`, path);
      keys[providerName] = { key: key === '' ? null : key, from: `file ${path}`, file: path };
    } else if (entry.key_env !== undefined) {
      const key = env[entry.key_env]?.trim();
      keys[providerName] = { key: key === undefined || key === '' ? null : key, from: `environment ${entry.key_env}` };
    } else {
      keys[providerName] = { key: null, from: null };
    }
  }
  return keys;
}

/** The key in a file that a setting names. Errors: invalid_config. */
export function readKeyFile(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new AppError('invalid_config', `${setting}: ${path} cannot be read.`, {
      hint: 'Name a file that holds the key alone.',
      cause: error,
    });
  }
}

function readConfigFile(
  named: string | undefined,
  env: Record<string, string | undefined>,
  cwd: string,
): { path: string; values: Record<string, unknown> } | null {
  const path = named === undefined ? join(configDir(env), 'config.yaml') : resolve(cwd, named);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (
      named === undefined &&
      error instanceof Error &&
      'code' in error &&
      (error.code === 'ENOENT' || error.code === 'ENOTDIR')
    )
      return null;
    throw new AppError('invalid_config', `The configuration file ${path} cannot be read.`, {
      hint: 'Name one that exists with --config or AIDEATOR_CONFIG.',
      cause: error,
    });
  }
  let values: unknown;
  try {
    values = parseYaml(text) ?? {};
  } catch (error) {
    throw new AppError(
      'invalid_config',
      `${path} is not YAML: ${error instanceof Error ? error.message : String(error)}`,
      { hint: 'Mend the line it names.', cause: error },
    );
  }
  if (!isRecord(values))
    throw new AppError('invalid_config', `${path} must hold settings as \`name: value\` lines.`, {
      hint: '`aideator config` lists all settings.',
    });
  return { path, values };
}

function invalid(error: z.ZodError, origins: Origins): AppError {
  const lines = error.issues.map((issue) => {
    const path = issue.path.map(String).join('.');
    const from = origins[path] ?? origins[String(issue.path[0] ?? '')];
    if (issue.code === 'unrecognized_keys') {
      const [key = ''] = issue.keys;
      const full = path === '' ? key : `${path}.${key}`;
      return `${full} is not a setting${origins[key] === undefined ? '' : ` (from ${origins[key]})`}. ${path === '' ? suggest(key, Object.keys(configSchema.shape)) : ''}`.trim();
    }
    return `${path}: ${issue.message}${from === undefined || from === 'default' ? '' : ` (from ${from})`}`;
  });
  return new AppError('invalid_config', lines.join('\n'), {
    hint: '`aideator config` prints every setting, its value and where it is from.',
    cause: error,
  });
}

function suggest(wrong: string, known: readonly string[]): string {
  const near = known
    .map((candidate) => ({ candidate, distance: editDistance(wrong, candidate) }))
    .filter(({ distance }) => distance <= 3)
    .toSorted((a, b) => a.distance - b.distance)[0];
  return near === undefined ? '' : `Did you mean ${near.candidate}? `;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current[j] = Math.min((previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1, substitution);
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** The folder of the user's own configuration: `$XDG_CONFIG_HOME/aideator`, else `~/.config/aideator`. */
export function configDir(env: Record<string, string | undefined>): string {
  return join(env['XDG_CONFIG_HOME'] ?? join(homeOf(env), '.config'), 'aideator');
}

function defaultDataDir(env: Record<string, string | undefined>): string {
  const base = env['XDG_DATA_HOME'];
  return base !== undefined && isAbsolute(base)
    ? join(base, 'aideator')
    : join(homeOf(env), '.local', 'share', 'aideator');
}

function homeOf(env: Record<string, string | undefined>): string {
  const home = env['HOME'];
  return home !== undefined && home !== '' ? home : homedir();
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The environment of this process: read here, handed on as a value. */
export function processEnvironment(): Readonly<Record<string, string | undefined>> {
  return process.env;
}
