import { AppError } from '../errors.ts';
import { mirrorName, type Address } from './address.ts';
import { textOf } from './borrowed.ts';
import { remoteFailure, unknownRef, unreachable } from './failures.ts';
import type { ResolvedRepository } from './git.ts';
import { ALL_REFS, FETCH_TIMEOUT_MS, pinning, pinOf, type MirrorAccess } from './mirror-access.ts';
import { FULL_NAME } from './refs.ts';

/** The refs a remote shows: name to object, annotated tags already peeled to their commit. */
interface Listing {
  refs: Map<string, string>;
  /** What HEAD is; null where it points at nothing. */
  head: string | null;
  /** The branch HEAD points at, where the remote says so. */
  headName: string | null;
}

type Remote = Extract<Address, { kind: 'url' }>;

/** Resolves a repository at a URL, with the user's own access (helpers, keys); nothing is asked of a person. */
export async function resolveRemote(
  access: MirrorAccess,
  remote: Remote,
  ref: string | undefined,
): Promise<ResolvedRepository> {
  const answer = (mirror: string, base: string): ResolvedRepository => ({
    repository: remote.shown,
    localPath: null,
    mirror,
    ref: ref ?? null,
    base,
    uncommitted: 0,
  });

  const wanted = ref === undefined || ref === '@' ? 'HEAD' : ref;
  if (FULL_NAME.test(wanted)) {
    const commit = wanted.toLowerCase();
    const mirror = mirrorName(remote.shown, commit.length);
    if (await access.isPinned(mirror, commit)) return answer(mirror, commit);
  }

  const listing = await list(access, remote, wanted);
  const some = listing.head ?? [...listing.refs.values()][0];
  if (some === undefined) {
    throw new AppError('repository_empty', `${remote.shown} has no commit yet.`, {
      hint: 'Push a first commit to it.',
    });
  }
  const mirror = mirrorName(remote.shown, some.length);
  const base = await access.alone(mirror, async () => {
    await access.make(mirror, remote.shown, some.length);
    const commit = await bringIn(access, mirror, remote, listing, wanted);
    if (!(await access.isPinned(mirror, commit))) {
      const gitDir = access.path(mirror);
      await access.git(['update-ref', pinOf(commit), commit], { gitDir, cwd: gitDir });
    }
    return commit;
  });
  return answer(mirror, base);
}

/** The wanted commit, in the mirror. */
async function bringIn(
  access: MirrorAccess,
  mirror: string,
  remote: Remote,
  listing: Listing,
  wanted: string,
): Promise<string> {
  const from = { url: remote.url, shown: remote.shown, user: 'person' } as const;
  const fetchAll = (...more: string[]): Promise<void> =>
    access.fetch(mirror, from, [...ALL_REFS, ...more], ['--prune']);
  const listed = wanted === 'HEAD' ? listing.head : named(listing, wanted);
  if (listed !== null) {
    // In the mirror already, by an earlier fetch: nothing has to be brought.
    if (await access.isPinned(mirror, listed)) return listed;
    await fetchAll(...(wanted.startsWith('refs/') ? [`+${wanted}:refs/aideator/asked`] : []));
    // HEAD, where it is on no branch, is reached by its name only.
    const commit = (await inMirror(access, mirror, listed)) ?? (await byName(access, mirror, from, listed));
    if (commit !== null) return commit;
  } else if (wanted !== 'HEAD') {
    await fetchAll();
    // main~2, HEAD^, an abbreviated name, a commit that some branch has.
    const expression = wanted.replace(/^(HEAD|@)(?=[~^])/, listing.head ?? '$1');
    const commit =
      (await inMirror(access, mirror, expression)) ??
      (FULL_NAME.test(wanted) ? await byName(access, mirror, from, wanted.toLowerCase()) : null);
    if (commit !== null) return commit;
  }
  const names = [...listing.refs.keys()].map((name) => name.replace(/^refs\/(heads|tags)\//, ''));
  if (wanted === 'HEAD') {
    const branch = listing.headName === null ? '' : ` (${listing.headName.replace('refs/heads/', '')})`;
    throw new AppError('unknown_ref', `HEAD of ${remote.shown} points at a branch without a commit${branch}.`, {
      hint: `Name the branch to start from: ${names.slice(0, 5).join(', ')}`,
    });
  }
  throw unknownRef(remote.shown, wanted, names);
}

/** A name of the listing, in git's own order: as it is, then as a tag, then as a branch. */
function named(listing: Listing, name: string): string | null {
  for (const full of [name, `refs/tags/${name}`, `refs/heads/${name}`, `refs/${name}`]) {
    const id = listing.refs.get(full);
    if (id !== undefined) return id;
  }
  return null;
}

async function inMirror(access: MirrorAccess, mirror: string, expression: string): Promise<string | null> {
  const gitDir = access.path(mirror);
  const result = await access.git(['rev-parse', '--verify', '--quiet', '--end-of-options', `${expression}^{commit}`], {
    gitDir,
    cwd: gitDir,
    accept: 'any',
  });
  return result.code === 0 ? textOf(result) : null;
}

/** A commit that no ref shows, by its name; servers may refuse that. */
async function byName(
  access: MirrorAccess,
  mirror: string,
  from: Parameters<MirrorAccess['fetch']>[1],
  commit: string,
): Promise<string | null> {
  try {
    await access.fetch(mirror, from, [pinning(commit)]);
    return await inMirror(access, mirror, commit);
  } catch (error) {
    if (error instanceof AppError && error.code === 'repository_auth_required') throw error;
    return null;
  }
}

async function list(access: MirrorAccess, remote: Remote, wanted: string): Promise<Listing> {
  const patterns = ['HEAD', 'refs/heads/*', 'refs/tags/*', ...(wanted.startsWith('refs/') ? [wanted] : [])];
  const result = await access
    .git(['ls-remote', '--symref', '--quiet', '--', remote.url, ...patterns], {
      ...access.nowhere,
      user: 'person',
      timeoutMs: FETCH_TIMEOUT_MS,
      accept: 'any',
    })
    .catch((error: unknown) => {
      if (error instanceof AppError && error.details?.['timed_out'] === true)
        throw unreachable(remote.shown, 'it gave no answer', error);
      throw error;
    });
  if (result.code !== 0) throw remoteFailure(remote.shown, result);
  const listing: Listing = { refs: new Map(), head: null, headName: null };
  for (const line of textOf(result).split('\n')) {
    const [id = '', name = ''] = line.split('\t');
    if (id.startsWith('ref: ') && name === 'HEAD') listing.headName = id.slice(5);
    else if (!FULL_NAME.test(id)) continue;
    else if (name === 'HEAD') listing.head = id;
    // `<tag>^{}` comes after `<tag>` and is the commit it means.
    else listing.refs.set(name.replace(/\^\{\}$/, ''), id);
  }
  return listing;
}
