import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { AppError } from '../../errors.ts';
import { makeBare } from '../../git/borrowed.ts';
import { gitFailed, lastWords, type Git } from '../../git/command.ts';
import { pinning, pinOf } from '../../git/mirror-access.ts';

export interface FetchBase {
  /** The attempt door's, without a trailing slash. */
  doorUrl: string;
  token: string;
  base: string;
  gitDir: string;
  signal: AbortSignal;
  log(words: string): void;
  /** How long a door that does not answer is tried again (ms). */
  patienceMs?: number | undefined;
}

/**
 * Brings the base with its history from the attempt door into a bare repository of the recorder's own. The token is in the
 * environment of git alone: neither a command line nor a file has it. Errors: git_failed, disk_full.
 */
export async function fetchBase(git: Git, request: FetchBase): Promise<void> {
  const { base, gitDir, signal } = request;
  await makeBare(gitDir, base, '[fetch]\n\tunpackLimit = 1\n');
  const pinned = await readFile(join(gitDir, pinOf(base)), 'latin1').catch(() => '');
  if (pinned.trim() === base) return;
  const url = `${request.doorUrl}/repository`;
  const env = configuration({
    [`http.${request.doorUrl}/.extraHeader`]: `Authorization: Bearer ${request.token}`,
    'http.followRedirects': 'false',
    // A connection that is dead says nothing for good; a server that counts objects says something every few seconds.
    'http.lowSpeedLimit': '1',
    'http.lowSpeedTime': '60',
  });
  // prettier-ignore
  const fetch = ['fetch', '--quiet', '--force', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules', '--no-show-forced-updates', '--update-shallow', '--', url, pinning(base)];
  const until = performance.now() + (request.patienceMs ?? 300_000);
  for (let pause = 200; ; pause = Math.min(pause * 2, 5000)) {
    const fetched = await git(fetch, { gitDir, cwd: gitDir, env, signal, accept: 'any' });
    if (fetched.code === 0) return;
    const failure = gitFailed('git fetch', fetched);
    if (failure.code === 'disk_full' || FINAL.test(fetched.stderr) || performance.now() >= until) throw failure;
    request.log(`The repository cannot be fetched yet: ${lastWords(fetched.stderr)}`);
    await wait(pause, undefined, { signal }).catch((error: unknown) => {
      throw new AppError('git_failed', 'git fetch was stopped on request.', {
        cause: error,
        details: { aborted: true },
      });
    });
  }
}

/** What asking again does not change: refused, not there, no such commit. */
const FINAL = /error: 40[134]|Authentication failed|not our ref|could not read Username/i;

/** Configuration for one command, by its environment (git-config(1), GIT_CONFIG_COUNT). */
function configuration(entries: Record<string, string>): Record<string, string> {
  const env: Record<string, string> = { GIT_CONFIG_COUNT: String(Object.keys(entries).length) };
  for (const [index, [key, value]] of Object.entries(entries).entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return env;
}
