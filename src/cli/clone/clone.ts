import { lastWords } from '../../git/command.ts';
import { foreignOwner } from '../../git/failures.ts';
import { textOf } from '../../git/borrowed.ts';
import { createGit, type Git } from '../../git/command.ts';
import { AppError } from '../../errors.ts';

/**
 * The person's own clone, on the machine of the CLI: what a run on a server far away is sent from, and shipped to. Worked on with
 * the git room, as a server does with a repository of its own machine; the person's own configuration holds, and no hook runs.
 */
export interface Clone {
  /** The top of its work tree; the git directory of a bare one. */
  top: string;
  bare: boolean;
  /** The git directory that all its work trees share. */
  commonDir: string;
  /** Runs git in it. Never throws for git's own exit code. */
  ask(...args: string[]): Promise<{ code: number; out: string; err: string }>;
  git: Git;
}

/** The clone around a folder; null where there is none. Errors: repository_unreachable (of another user), tool_missing. */
export async function findClone(
  env: Readonly<Record<string, string | undefined>>,
  folder: string,
): Promise<Clone | null> {
  const git = createGit({ env });
  const asked = await git(
    ['rev-parse', '--is-bare-repository', '--path-format=absolute', '--git-common-dir', '--show-toplevel'],
    { cwd: folder, user: 'person', accept: 'any' },
  );
  if (/dubious ownership/.test(asked.stderr)) throw foreignOwner(folder);
  const [isBare, commonDir = '', ...rest] = textOf(asked).split('\n');
  // --show-toplevel ends the command in a bare repository, after the others were answered.
  if (commonDir === '' || (asked.code !== 0 && isBare !== 'true')) {
    if (asked.code !== 0 && !/not a git repository|work tree/i.test(asked.stderr))
      throw new AppError('git_failed', `git could not look at ${folder}: ${lastWords(asked.stderr)}`);
    return null;
  }
  const top = isBare === 'true' ? commonDir : rest.join('\n');
  return {
    top,
    bare: isBare === 'true',
    commonDir,
    git,
    ask: async (...args) => {
      const result = await git(args, { cwd: top, user: 'person', accept: 'any', timeoutMs: ASK_WITHIN });
      return { code: result.code, out: textOf(result), err: result.stderr };
    },
  };
}

/** Milliseconds for one question, a remote's answer included. */
const ASK_WITHIN = 60_000;

/** A clone's remotes, by name, as git would use them (`insteadOf` is applied). */
export async function remotesOf(clone: Clone): Promise<Map<string, string>> {
  const { out } = await clone.ask('remote');
  const names = out.split('\n').filter((name) => name !== '');
  const urls = await Promise.all(names.map((name) => clone.ask('remote', 'get-url', '--', name)));
  return new Map(
    names.flatMap((name, place) => {
      const url = urls[place];
      return url?.code === 0 ? [[name, url.out.split('\n')[0] ?? '']] : [];
    }),
  );
}

/**
 * What two addresses of one repository have in common: `git@host:a/b`, `ssh://git@host/a/b.git` and `https://host/a/b` are the same;
 * paths are themselves.
 */
export function sameRepository(address: string): string {
  const url = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/@]*@)?([^/:]+)(?::(\d+))?\/+(.*)$/i.exec(address);
  const scp = url === null ? /^(?:[^/@]+@)?([^/:]+):(?!\\)\/*(.+)$/.exec(address) : null;
  const [host, path] = url !== null ? [url[1], url[3]] : scp !== null ? [scp[1], scp[2]] : ['', address];
  const port = url?.[2] === undefined ? '' : `:${url[2]}`;
  return `${(host ?? '').toLowerCase()}${port}/${(path ?? '').replace(/\/+$/, '').replace(/\.git$/, '')}`;
}
