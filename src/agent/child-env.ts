import { dirname, extname, join } from 'node:path';
import type { AttemptSpec } from '../contract/attempt.ts';
import type { PlacePaths } from './place.ts';
import { ATTEMPT_VARIABLE } from './process-identity.ts';

/** What an agent is started with. Values: a test reads them with no process. */

/** All that an agent gets of the recorder's own environment: no key can be in it. */
const INHERITED = /^(PATH|LANG|LANGUAGE|LC_[A-Z]+|TZ)$/;

/** What of an environment a recorder, and an agent's tools through it, may know. */
export function inheritedEnvironment(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && INHERITED.test(name)) kept[name] = value;
  }
  return kept;
}

/** The provider's own name of a `<provider>/<model>`. */
export function modelName(model: string): string {
  return model.slice(model.indexOf('/') + 1);
}

/** What stands for what in an agent's command, environment and settings files, see `contract/agent-entry.ts`. */
export function agentWords(
  spec: Pick<AttemptSpec, 'model' | 'dialect' | 'limits'>,
  { home }: Pick<PlacePaths, 'home'>,
  baseUrl: string,
): Record<string, string> {
  return {
    base_url: baseUrl,
    model: modelName(spec.model),
    dialect: spec.dialect,
    max_steps: String(spec.limits.max_steps),
    home,
  };
}

/**
 * The environment of an attempt's agent: an allow-list, its own HOME and TMPDIR, and what its catalogue entry adds.
 *
 * @param baseUrl of the recorder's loopback proxy, without /v1
 */
export function agentEnvironment(
  env: Record<string, string | undefined>,
  spec: AttemptSpec,
  paths: PlacePaths,
  baseUrl: string,
): Record<string, string> {
  const result = inheritedEnvironment(env);
  const { home } = paths;
  const words = agentWords(spec, paths, baseUrl);
  Object.assign(result, {
    TERM: 'dumb',
    HOME: home,
    TMPDIR: paths.tmp,
    XDG_CONFIG_HOME: join(home, '.config'),
    XDG_CACHE_HOME: join(home, '.cache'),
    XDG_DATA_HOME: join(home, '.local', 'share'),
    XDG_STATE_HOME: join(home, '.local', 'state'),
  });
  if (spec.egress) Object.assign(result, proxyEnvironment(baseUrl));
  for (const [name, value] of Object.entries(spec.agent.env)) result[name] = replaceWords(value, words);
  result[ATTEMPT_VARIABLE] = spec.attempt_id;
  return result;
}

/**
 * By what programs find their proxy: the recorder's, for all but itself. Curl reads `http_proxy` in lower case only, others what they
 * like; Node its own name beside them (https://nodejs.org/api/cli.html#node_use_env_proxy1), and npm, git, pip and cargo these.
 */
function proxyEnvironment(url: string): Record<string, string> {
  const named = { https_proxy: url, http_proxy: url, no_proxy: '127.0.0.1,localhost,::1' };
  const upper = Object.entries(named).map(([name, value]) => [name.toUpperCase(), value]);
  return { ...named, ...Object.fromEntries(upper), NODE_USE_ENV_PROXY: '1' };
}

/** The agent's program and arguments, ready to be started without a shell. */
export function agentCommand(command: readonly string[], node: string): [string, ...string[]] {
  const here = import.meta.filename;
  const words = { node, builtin: join(dirname(here), `builtin-main${extname(here)}`) };
  const [program = '', ...args] = command.map((word) => replaceWords(word, words));
  return [program, ...args];
}

/** Replaces `{name}` where the name is known; everything else stays as it is. */
export function replaceWords(text: string, words: Record<string, string>): string {
  return text.replaceAll(/\{([a-z_]+)\}/g, (whole, name: string) => words[name] ?? whole);
}
