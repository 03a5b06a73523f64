import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { field } from './field.ts';
import { namedPaths, type NamedPaths } from './named-paths.ts';
import { realPathOf, type ReadLink } from './real-path.ts';

/**
 * What an agent that asks for permission is answered: allowed is what stays in the attempt's own folders, rejected is what names a
 * path outside of them. An attempt works unattended, so nobody else is asked.
 *
 * It is an answer to a question, no wall: an agent that does not ask is not held by it, and a command is not read for the paths in
 * it. What keeps an agent in is its sandbox or its pod.
 */

/** Where an attempt may work. Absolute paths. */
export interface Ground {
  workspace: string;
  home: string;
  tmp: string;
}

export interface Decision {
  outcome: 'allowed' | 'rejected' | 'cancelled';
  /** The option that is chosen; null where the request is answered with `cancelled`. */
  optionId: string | null;
  /** In words. */
  why: string;
  /** The paths outside, as the agent named them: at most five. */
  outside: string[];
}

/** Judged anew each time: an agent that was told `always` would not ask again about the next path. */
const TO_ALLOW = ['allow_once', 'allow_always'] as const;
const TO_REJECT = ['reject_once', 'reject_always'] as const;

/** Options that are looked at. */
const MAX_OPTIONS = 100;

/**
 * @param request the params of ACP's `session/request_permission`
 * @param announced what earlier messages said of the same tool call: a request need not repeat it
 */
export function decide(
  request: unknown,
  ground: Ground,
  readLink: ReadLink,
  announced: NamedPaths = { paths: [], tooMany: false },
): Decision {
  const named = namedPaths(field(request, 'toolCall'));
  const outside = outsideOf([...named.paths, ...announced.paths], ground, readLink);
  if (outside.length > 0) {
    const which = outside
      .slice(0, 5)
      .map((path) => (path.length > 300 ? `${path.slice(0, 300).toWellFormed()}…` : path));
    const more = outside.length > which.length ? ` and ${outside.length - which.length} more` : '';
    return reject(
      request,
      `It names ${which.join(', ')}${more}: outside of the attempt’s workspace, HOME and TMPDIR.`,
      which,
    );
  }
  if (named.tooMany || announced.tooMany) return reject(request, 'It names more paths than can be looked at.', []);
  const allowing = optionOf(request, TO_ALLOW);
  const where =
    named.paths.length + announced.paths.length === 0
      ? 'It names no path outside of the attempt’s own folders.'
      : 'All paths that it names are in the attempt’s workspace, HOME or TMPDIR.';
  if (allowing !== null) return { outcome: 'allowed', optionId: allowing, why: where, outside: [] };
  return reject(request, 'It offers no option that allows it.', []);
}

function reject(request: unknown, why: string, outside: string[]): Decision {
  const optionId = optionOf(request, TO_REJECT);
  if (optionId !== null) return { outcome: 'rejected', optionId, why, outside };
  return { outcome: 'cancelled', optionId, why: `${why} It offers no option that rejects it, either.`, outside };
}

function optionOf(request: unknown, kinds: readonly string[]): string | null {
  const given = field(request, 'options');
  const options: readonly unknown[] = Array.isArray(given) ? given.slice(0, MAX_OPTIONS) : [];
  for (const kind of kinds) {
    for (const option of options) {
      const id = field(option, 'optionId');
      if (field(option, 'kind') === kind && typeof id === 'string') return id;
    }
  }
  return null;
}

/** Those of the paths that lead out, as they were named. One that cannot be followed leads out. */
export function outsideOf(paths: readonly string[], ground: Ground, readLink: ReadLink): string[] {
  const roots = [ground.workspace, ground.home, ground.tmp].map((root) => realPathOf(root, readLink));
  return paths.filter((path) => {
    const absolute = absoluteOf(path, ground);
    const real = absolute === null ? null : realPathOf(absolute, readLink);
    return real === null || !roots.some((root) => root !== null && isWithin(real, root));
  });
}

function isWithin(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`);
}

/** As the agent's tools would read it: a relative path from the workspace on, `~` as HOME. Null for what is no path. */
function absoluteOf(path: string, ground: Ground): string | null {
  let text = path;
  if (/^file:/i.test(text)) {
    try {
      text = fileURLToPath(text, { windows: false });
    } catch {
      return null;
    }
  }
  if (text.includes('\0')) return null;
  if (text === '~' || text.startsWith('~/')) return ground.home + text.slice(1);
  // The home of some other user.
  if (/^~[a-z_]/i.test(text) && text.includes('/')) return null;
  // Not normalized: `..` is walked, behind links, by whoever follows it.
  return text.startsWith('/') ? text : `${ground.workspace}${posix.sep}${text}`;
}
