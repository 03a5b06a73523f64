import { join } from 'node:path';
import { assertObjectName, exists, isUrl } from './borrowed.ts';
import { gitFailed, isDiskFull, type Git } from './command.ts';
import { ANY_COMMIT } from './mirror-access.ts';

/** Who the agent commits as: its HOME is empty, and git refuses to commit as nobody. `.invalid` reaches no mailbox. */
const IDENTITY = { name: 'AIdeator agent', email: 'agent@aideator.invalid' };

/**
 * Makes an attempt's workspace: a repository of its own with the base checked out on a new branch, no remote, and an identity
 * to commit with. Objects are hard links into the mirror (on one disk), or copies. Drivers named in `.gitattributes` (LFS, …) do not run:
 * their files stay as they are stored. Submodules stay empty.
 *
 * @param source the mirror's path, or a URL that hands out the base.
 * @param dir must not exist, or be empty.
 * @param linked whether object files may be shared (hard links); else they are copied: whoever works in the workspace could
 *   write through a link into the source.
 * Errors: git_failed, disk_full.
 */
export async function makeWorkspace(
  git: Git,
  {
    source,
    base,
    dir,
    branch,
    linked = true,
    signal,
  }: {
    source: string;
    base: string;
    dir: string;
    branch: string;
    linked?: boolean | undefined;
    signal?: AbortSignal | undefined;
  },
): Promise<void> {
  assertObjectName(base);
  // A clone of a shallow repository is no local one, and so would miss a base that is only pinned.
  if (isUrl(source) || (await exists(join(source, 'shallow')))) {
    const format = base.length === 64 ? 'sha256' : 'sha1';
    await git(
      ['init', '--quiet', '--template=', `--object-format=${format}`, `--initial-branch=${branch}`, '--', dir],
      { signal },
    );
    const upload = isUrl(source) ? [] : [`--upload-pack=${ANY_COMMIT}`];
    await git(
      [
        '-C',
        dir,
        'fetch',
        '--quiet',
        '--no-tags',
        '--no-write-fetch-head',
        '--update-shallow',
        ...upload,
        '--',
        source,
        base,
      ],
      { signal },
    );
    await git(['-C', dir, 'checkout', '--quiet', '-B', branch, base, '--'], { signal });
    const entries = Object.entries(LOCAL_CONFIG);
    for (const [key, value] of entries) await git(['-C', dir, 'config', key, value], { signal });
    return;
  }
  const config = Object.entries(LOCAL_CONFIG).flatMap(([key, value]) => ['--config', `${key}=${value}`]);
  const clone = [
    'clone',
    '--quiet',
    '--local',
    ...(linked ? [] : ['--no-hardlinks']),
    '--no-checkout',
    '--template=',
    '--origin=source',
    ...config,
    '--',
    source,
    dir,
  ];
  for (let tries = 1; ; tries++) {
    const cloned = await git(clone, { signal, accept: 'any' });
    if (cloned.code === 0) break;
    // While it links the mirror's files, a fetch into the mirror may rename one of them under its hands.
    if (tries === 3 || isDiskFull(cloned.stderr)) throw gitFailed('git clone', cloned);
  }
  await git(['-C', dir, 'remote', 'remove', 'source'], { signal });
  await git(['-C', dir, 'checkout', '--quiet', '-B', branch, base, '--'], { signal });
}

const LOCAL_CONFIG = {
  'user.name': IDENTITY.name,
  'user.email': IDENTITY.email,
  // A gc started by the agent's commit detaches itself and would outlive the attempt's process group.
  'gc.auto': '0',
  'maintenance.auto': 'false',
};
