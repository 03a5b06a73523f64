import { withoutPassword } from '../../git/address.ts';
import { lastWords } from '../../git/command.ts';
import { AppError } from '../../errors.ts';
import { isAddress } from '../address.ts';
import { plural } from '../format.ts';
import { type Clone, findClone, remotesOf } from './clone.ts';

/** What a server that cannot see the clone is told of it: where it is cloned from, and the commit. */
export interface Sent {
  repository: string;
  ref: string;
  /** What the person should know, in words. */
  remarks: string[];
}

/**
 * What stands for a local repository at a server elsewhere: the remote of the current branch, else `origin`, and the commit that is
 * meant here. A run begins from what the remote has: a commit that is not there is refused, not replaced by another one.
 * Errors: repository_not_git, repository_empty, unknown_ref, not_pushed, repository_unreachable.
 */
export async function whatToSend(
  env: Readonly<Record<string, string | undefined>>,
  folder: string,
  ref: string | undefined,
): Promise<Sent> {
  const clone = await findClone(env, folder);
  if (clone === null)
    throw new AppError('repository_not_git', `${folder} is not inside a git repository.`, {
      hint: `The server is on another machine and clones by itself: go to your clone, or name the repository: --repo <url>`,
    });
  const branch = await clone.ask('symbolic-ref', '--quiet', '--short', 'HEAD');
  const current = branch.code === 0 ? branch.out : null;
  const commit = await commitOf(clone, ref);
  const remote = await remoteOf(clone, current);
  const remarks: string[] = [];
  const url = withoutPassword(remote.url);
  if (url !== remote.url)
    remarks.push(`The password in the URL of ${remote.name} is kept here: the server uses its own access to ${url}.`);
  await assertPushed(clone, { commit, remote, current, ref, remarks });
  if (ref === undefined) {
    const left = await uncommitted(clone);
    if (left > 0)
      remarks.push(
        `${plural(left, 'uncommitted change')} here ${left === 1 ? 'is' : 'are'} not part of the run: it starts from commit ${commit.slice(0, 12)} of ${url}.`,
      );
  }
  return { repository: url, ref: commit, remarks };
}

async function commitOf(clone: Clone, ref: string | undefined): Promise<string> {
  const found = await clone.ask('rev-parse', '--verify', '--quiet', '--end-of-options', `${ref ?? 'HEAD'}^{commit}`);
  if (found.code === 0) return found.out;
  if (ref === undefined)
    throw new AppError('repository_empty', `${clone.top} has no commit yet.`, {
      hint: 'Commit something and push it first: git add -A && git commit -m "First commit" && git push',
    });
  throw new AppError('unknown_ref', `${clone.top} has no branch, tag or commit ${JSON.stringify(ref)}.`, {
    hint: 'What only the remote has is here after: git fetch. Or name the repository with --repo <url>: then the ref is looked for there.',
  });
}

interface Remote {
  name: string;
  url: string;
}

async function remoteOf(clone: Clone, current: string | null): Promise<Remote> {
  const remotes = await remotesOf(clone);
  const configured = current === null ? null : (await clone.ask('config', '--get', `branch.${current}.remote`)).out;
  // `.`: the branch follows another one of this clone.
  const wanted = configured === null || configured === '' || configured === '.' ? null : configured;
  const [only] = remotes.size === 1 ? remotes.keys() : [];
  const name = [wanted, 'origin', only].find((each) => each != null && remotes.has(each));
  // A branch may name a URL where others name a remote.
  const url = name == null ? (wanted !== null && isAddress(wanted) ? wanted : undefined) : remotes.get(name);
  if (url === undefined || name === '') {
    throw new AppError(
      'repository_unreachable',
      `${clone.top} has ${remotes.size === 0 ? 'no remote' : `no remote named origin, and ${current ?? 'HEAD'} follows none (there are ${[...remotes.keys()].join(', ')})`}: a server elsewhere cannot see it.`,
      {
        hint:
          remotes.size === 0
            ? 'Push it to where the server can clone it: git remote add origin <url> && git push -u origin HEAD. Or name another repository: --repo <url>'
            : `Say which: git branch --set-upstream-to=<remote>/<branch>, or --repo <url>`,
      },
    );
  }
  if (!isAddress(url) || url.startsWith('file:'))
    throw new AppError(
      'repository_unreachable',
      `The remote ${name ?? ''} is ${url}, a path of this machine: a server elsewhere cannot see it.`,
      {
        hint: 'Push it to where the server can clone it, and name that: --repo <url>',
      },
    );
  return { name: name ?? url, url };
}

async function assertPushed(
  clone: Clone,
  {
    commit,
    remote,
    current,
    ref,
    remarks,
  }: { commit: string; remote: Remote; current: string | null; ref: string | undefined; remarks: string[] },
): Promise<void> {
  // What this clone knows of the remote: no network is needed where the commit was pushed or fetched from here.
  const known = await clone.ask('for-each-ref', '--count=1', '--contains', commit, `refs/remotes/${remote.name}/`);
  if (known.code === 0 && known.out !== '') return;
  const listed = await clone.ask('ls-remote', '--quiet', '--', remote.url, 'HEAD', 'refs/heads/*', 'refs/tags/*');
  if (listed.code !== 0) {
    // This machine may have less access than the server, which looks for itself.
    remarks.push(
      `${remote.name} could not be asked whether it has commit ${commit.slice(0, 12)}: ${lastWords(listed.err)}`,
    );
    return;
  }
  const tips = [...new Set(listed.out.split('\n').map((line) => line.split('\t')[0] ?? ''))].filter(
    (tip) => tip !== '',
  );
  if (tips.includes(commit)) return;
  for (const tip of tips) {
    if ((await clone.ask('merge-base', '--is-ancestor', commit, tip)).code === 0) return;
  }
  const what = ref === undefined ? (current === null ? 'HEAD' : `the tip of ${current}`) : ref;
  throw new AppError(
    'not_pushed',
    `Commit ${commit.slice(0, 12)} (${what}) is not on ${remote.name}, ${withoutPassword(remote.url)}: the server cannot have it.`,
    { hint: `Push it first: ${pushCommand(remote.name, current, ref, commit)}` },
  );
}

function pushCommand(remote: string, current: string | null, ref: string | undefined, commit: string): string {
  if (ref !== undefined && ref !== 'HEAD' && ref !== current)
    return `git push ${remote} ${commit.slice(0, 12)}:refs/heads/<branch>`;
  return current === null ? `git push ${remote} HEAD:refs/heads/<branch>` : `git push -u ${remote} ${current}`;
}

async function uncommitted(clone: Clone): Promise<number> {
  if (clone.bare) return 0;
  const { code, out } = await clone.ask(
    ...['status', '--porcelain', '-z', '--no-renames', '--untracked-files=normal', '--ignore-submodules=dirty'],
  );
  return code === 0 ? out.split('\0').filter((entry) => entry !== '').length : 0;
}
