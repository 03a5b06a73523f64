import { AppError } from '../errors.ts';
import { gitFailed, isDiskFull, lastWords, type GitResult } from './command.ts';

/** What git says when a repository cannot be had, sorted into our codes. Its words are stable: LC_ALL is C. */

const AUTH =
  /could not read (Username|Password)|terminal prompts disabled|Authentication failed|Invalid username or (password|token)|Permission denied \((publickey|password|keyboard|gssapi)|returned error: 40[137]|HTTP Basic: Access denied|Too many authentication failures|unable to read askpass/i;
const UNREACHABLE =
  /Could not resolve (host|hostname|proxy)|Failed to connect|Could(n't| not) connect|Connection (refused|timed out|reset|closed)|unable to connect|unable to look up|No route to host|Network is unreachable|Operation timed out|SSL|TLS|certificate|Host key verification failed|returned error: 5\d\d|Empty reply|early EOF|hung up unexpectedly|unable to access/i;
const NOT_FOUND =
  /returned error: 404|repository '.*' not found|does not exist|Repository not found|No such file or directory/i;
const NOT_GIT =
  /does not appear to be a git repository|not valid: is this a git repository|not a git repository|Not a git archive|protocol error|invalid index-pack output/i;
const OWNER = /dubious ownership/;

/** The error of a fetch, push or listing that failed. `shown` is the repository without its password. */
export function remoteFailure(shown: string, result: GitResult): AppError {
  const said = lastWords(result.stderr);
  const text = result.stderr;
  if (isDiskFull(text)) return gitFailed('git', result);
  if (OWNER.test(text)) return foreignOwner(shown);
  if (AUTH.test(text)) {
    return new AppError(
      'repository_auth_required',
      `${shown} asks for a password or a key (or does not exist): ${said}`,
      {
        hint: 'git runs here without a terminal. Let it sign in by itself: a credential helper (git config --global credential.helper …), an SSH key in the agent, or ~/.netrc. Try: GIT_TERMINAL_PROMPT=0 git ls-remote <repository>',
      },
    );
  }
  if (NOT_FOUND.test(text) && !NOT_GIT.test(text)) {
    return new AppError('repository_not_found', `${shown} was not found: ${said}`, {
      hint: 'Check the spelling; a private repository that you have no access to looks the same.',
    });
  }
  if (NOT_GIT.test(text)) {
    return new AppError('repository_not_git', `${shown} is not a git repository: ${said}`, {
      hint: 'Give the URL that git clone takes, not that of a web page.',
    });
  }
  if (UNREACHABLE.test(text)) return unreachable(shown, said);
  return new AppError('repository_unreachable', `git could not fetch from ${shown}: ${said}`, {
    hint: 'Try: git ls-remote <repository>',
  });
}

export function unreachable(shown: string, said: string, cause?: unknown): AppError {
  return new AppError('repository_unreachable', `${shown} could not be reached: ${said}`, {
    hint: 'Check the host name, the network and a proxy; then try again.',
    cause,
  });
}

export function foreignOwner(path: string): AppError {
  return new AppError('repository_unreachable', `${path} belongs to another user, and git refuses to work with it.`, {
    hint: `If you trust it: git config --global --add safe.directory ${path}`,
  });
}

/** The error for a ref that does not exist, with the names that are close to it. */
export function unknownRef(shown: string, ref: string, names: readonly string[]): AppError {
  const close = closest(ref, names);
  const hint =
    close.length > 0 ? `Did you mean ${close.join(', ')}?` : 'Give a branch, a tag or a commit of the repository.';
  return new AppError('unknown_ref', `${shown} has no branch, tag or commit ${JSON.stringify(ref)}.`, { hint });
}

/** At most five names that are near to what was wanted: first the ones that contain it, then those a few letters off. */
export function closest(wanted: string, names: readonly string[]): string[] {
  const plain = wanted.toLowerCase().replace(/^(refs\/(heads|tags|remotes)\/|origin\/)/, '');
  return [...new Set(names)]
    .map((name) => ({ name, distance: name.toLowerCase().includes(plain) ? 0 : distance(plain, name.toLowerCase()) }))
    .filter(({ distance }) => distance <= Math.max(2, Math.floor(plain.length / 3)))
    .toSorted((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, 5)
    .map(({ name }) => name);
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 8) return Infinity;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(
        (row[j] ?? 0) + 1,
        (next[j - 1] ?? 0) + 1,
        (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
    }
    row = next;
  }
  return row[b.length] ?? Infinity;
}
