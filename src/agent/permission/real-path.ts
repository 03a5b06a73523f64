import { readlinkSync } from 'node:fs';
import { posix } from 'node:path';

/**
 * The target of a symlink; null where the path is none, or nothing is there. Throws where it cannot be looked at. The file system as
 * a function: a test of the policy needs none.
 */
export type ReadLink = (path: string) => string | null;

/** More than the kernel follows (40), and a path goes in circles. */
const MAX_LINKS = 40;

/**
 * Where an absolute path leads, as the kernel would walk it: `..` behind a symlink leaves the link's target, not the folder that the
 * link lies in. What does not exist (yet) is taken by its name. Null where it cannot be told: links in circles, no right to look.
 */
export function realPathOf(path: string, readLink: ReadLink): string | null {
  const left = path.split('/').toReversed();
  let at = '/';
  let links = 0;
  try {
    for (let part = left.pop(); part !== undefined; part = left.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        at = posix.dirname(at);
        continue;
      }
      const next = posix.join(at, part);
      const target = readLink(next);
      if (target === null) {
        at = next;
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) return null;
      if (target.startsWith('/')) at = '/';
      left.push(...target.split('/').toReversed());
    }
  } catch {
    return null;
  }
  return at;
}

/** The real file system's. A disk that minds no case is asked in whatever case was given, and answers for the same link. */
export function readLinkHere(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // No link; not there; or something that is no folder stands before it.
    if (code === 'EINVAL' || code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}
