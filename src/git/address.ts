import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { AppError } from '../errors.ts';

/** Where a repository is: what a person gave, understood. Git itself is not asked here. */
export type Address =
  | { kind: 'path'; path: string }
  /** `url` is for git and may hold a password; `shown` is for people, logs and the database. */
  | { kind: 'url'; url: string; shown: string };

const SCHEMES = new Set(['https', 'http', 'ssh', 'git', 'file', 'git+ssh', 'ssh+git']);
const hasControl = (text: string): boolean => [...text].some((char) => char < ' ' || char === '\u007f');

/**
 * Understands what was given as a repository: an URL with a scheme git can clone, `user@host:path`, or a path (relative ones
 * against the process's working directory). Errors: repository_not_found for what git must never see.
 */
export function parseAddress(repository: string): Address {
  const refuse = (why: string, hint: string): never => {
    throw new AppError(
      'repository_not_found',
      `The repository ${JSON.stringify(maskSecrets(repository))} cannot be used: ${why}.`,
      { hint },
    );
  };
  const give = 'Give a path on this machine or a URL that git can clone, e.g. https://example.com/project.git.';
  if (repository === '') return refuse('it is empty', give);
  if (repository.startsWith('-'))
    return refuse('it begins with a dash', 'For a folder of that name write ./ before it.');
  if (hasControl(repository)) {
    // A path may hold a line break; a URL may not.
    if (repository.includes('\0') || !existsSync(repository)) return refuse('it has control characters in it', give);
  }
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(repository)?.[1]?.toLowerCase();
  if (scheme !== undefined) {
    if (!SCHEMES.has(scheme)) return refuse(`"${scheme}" is not a scheme git can clone`, give);
    return { kind: 'url', url: repository, shown: withoutPassword(repository) };
  }
  if (existsSync(repository)) return { kind: 'path', path: resolve(repository) };
  // `ext::sh -c …` and its like run a program.
  if (/^[A-Za-z0-9][A-Za-z0-9+.-]*::/.test(repository))
    return refuse('remote helpers (name::address) are not allowed', give);
  if (/^[^/:]+:./.test(repository) && !/^[^:]*(^|@)-/.test(repository)) {
    return { kind: 'url', url: repository, shown: repository };
  }
  if (repository.startsWith('~'))
    return refuse('it does not exist', 'A shell would have replaced ~ by your home folder; write the whole path.');
  return { kind: 'path', path: resolve(repository) };
}

/** A URL without its password. A user name that alone is as long as a token is taken for one. */
export function withoutPassword(url: string): string {
  return url.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)([^/?#]*)@/, (_whole, scheme: string, userinfo: string) => {
    const user = userinfo.split(':')[0] ?? '';
    return user === '' || user.length >= 20 ? scheme : `${scheme}${user}@`;
  });
}

/** A text of git's with the passwords of the URLs in it taken out. */
export function maskSecrets(text: string): string {
  return text.replace(/[A-Za-z][A-Za-z0-9+.-]*:\/\/[^\s'"<>/]*@/g, (url) => withoutPassword(url));
}

/**
 * Folder name of a repository's mirror: readable, and one per repository.
 *
 * @param identity what makes it the same repository: the common git directory of a local one, a URL as shown.
 * @param hex length of its object names: a path may be given to another repository, of another object format, later.
 */
export function mirrorName(identity: string, hex: number): string {
  const normal = identity
    .replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/[^/]*)/, (origin) => origin.toLowerCase())
    .replace(/\/+$/, '');
  const words = normal.replace(/\/?\.git$/, '').split(/[/:\\]/);
  const readable = (words.at(-1) ?? '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[-.]+/, '')
    .slice(0, 40);
  const hash = createHash('sha256').update(`${hex}\0${normal}`).digest('hex').slice(0, 16);
  return `${readable === '' ? 'repository' : readable}-${hash}`;
}
