import { join } from 'node:path';

/** The environments git is run in, and the configuration it is given. Values: a test reads them with no process. */

/** The one configuration file of safe commands, in the place of a user's; it says itself why it is a file. */
export const safeConfigFile = join(import.meta.dirname, 'safe.gitconfig');

/**
 * Configuration of every safe command. No file of a system or a user is read but ours (see {@link gitEnvironment}); what stands
 * here overrides the configuration of the repository itself, for the commands that look at a user's repository.
 */
export const safeConfig: readonly string[] = config({
  'core.hooksPath': '/dev/null',
  'core.fsmonitor': 'false',
  'core.untrackedCache': 'false',
  'core.attributesFile': '/dev/null',
  'core.excludesFile': '/dev/null',
  'core.autocrlf': 'false',
  'core.safecrlf': 'false',
  'core.quotePath': 'true',
  'credential.helper': '',
  'protocol.ext.allow': 'never',
  'submodule.recurse': 'false',
  'commit.gpgSign': 'false',
  'gc.auto': '0',
  'maintenance.auto': 'false',
});

/** The user's own configuration holds, but hooks stay out: what the server does is not a step of the user's own work. */
export const personConfig: readonly string[] = config({
  'core.hooksPath': '/dev/null',
  'protocol.ext.allow': 'never',
  'gc.auto': '0',
  'maintenance.auto': 'false',
});

function config(entries: Record<string, string>): string[] {
  return ['--no-pager', ...Object.entries(entries).flatMap(([key, value]) => ['-c', `${key}=${value}`])];
}

/** Variables a safe command inherits. */
const INHERITED = ['PATH', 'TMPDIR', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'SSL_CERT_FILE', 'SSL_CERT_DIR'];

/** GIT_* variables that say how to reach a remote: a user's own, and of use. All others say which repository is meant, or trace. */
const OF_PERSON =
  /^GIT_(SSH|SSH_COMMAND|SSH_VARIANT|SSL_.*|PROXY_.*|HTTP_.*|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+)|EXEC_PATH|ALLOW_PROTOCOL)$/;

/**
 * The environment of a git command.
 *
 * @param user `none`: an allow-list, and no configuration of system or user. `person`: the user's own, without the GIT_*
 * variables that name a repository (the server may have been started from a hook or an alias).
 */
export function gitEnvironment(
  env: Record<string, string | undefined>,
  user: 'none' | 'person',
): Record<string, string> {
  const always = { GIT_TERMINAL_PROMPT: '0', GIT_OPTIONAL_LOCKS: '0', LC_ALL: 'C', LANGUAGE: 'C' };
  if (user === 'none') {
    return {
      ...pick(env, (name) => INHERITED.includes(name)),
      ...always,
      HOME: '/nonexistent',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: safeConfigFile,
      GIT_CONFIG_SYSTEM: '/dev/null',
      GIT_ATTR_NOSYSTEM: '1',
      GIT_NO_REPLACE_OBJECTS: '1',
    };
  }
  return {
    ...pick(env, (name) => !name.startsWith('GIT_') || OF_PERSON.test(name)),
    ...always,
    // An empty GIT_ASKPASS asks nobody, not even SSH_ASKPASS. ssh itself has no terminal to ask on (the command runs in a session
    // of its own), and these keep it from opening a window. GIT_SSH_COMMAND stays the user's: setting it would override their
    // core.sshCommand.
    GIT_ASKPASS: '',
    SSH_ASKPASS: 'false',
    SSH_ASKPASS_REQUIRE: 'never',
    GCM_INTERACTIVE: 'never',
  };
}

function pick(env: Record<string, string | undefined>, wanted: (name: string) => boolean): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && wanted(name)) picked[name] = value;
  }
  return picked;
}
