import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A file's content; null removes it; a link is written as a link. */
export type FileSpec = string | Uint8Array | null | { link: string } | { executable: string };

/** Repositories in tests are made by plain git with a fixed identity and fixed dates: their commits have the same names every time. */
export interface TestRepository {
  readonly path: string;
  /** Runs git in it; returns its output without the last line break. */
  git(...args: string[]): string;
  write(files: Record<string, FileSpec>): void;
  /** Commits all there is; returns the commit. */
  commit(message: string, files?: Record<string, FileSpec>): string;
  head(): string;
}

/** Nothing of the machine's configuration. */
export const plainEnv: Record<string, string> = {
  PATH: process.env['PATH'] ?? '/usr/bin:/bin',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'Test Author',
  GIT_AUTHOR_EMAIL: 'author@example.com',
  GIT_COMMITTER_NAME: 'Test Author',
  GIT_COMMITTER_EMAIL: 'author@example.com',
};

/** Runs plain git somewhere, as a person or an agent would. */
export function plainGit(cwd: string, args: readonly string[], env: Record<string, string> = {}): string {
  return execFileSync('git', args, {
    cwd,
    env: { ...plainEnv, ...env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 << 20,
  }).replace(/\n$/, '');
}

export function writeFiles(dir: string, files: Record<string, FileSpec>): void {
  for (const [name, content] of Object.entries(files)) {
    const path = join(dir, name);
    rmSync(path, { recursive: true, force: true });
    if (content === null) continue;
    mkdirSync(dirname(path), { recursive: true });
    if (typeof content === 'string' || content instanceof Uint8Array) {
      writeFileSync(path, content);
    } else if ('link' in content) {
      symlinkSync(content.link, path);
    } else {
      writeFileSync(path, content.executable);
      chmodSync(path, 0o755);
    }
  }
}

/** Makes a repository with one commit of these files; none when there are no files. */
export function makeRepository(
  dir: string,
  files: Record<string, FileSpec>,
  init: readonly string[] = [],
): TestRepository {
  mkdirSync(dir, { recursive: true });
  let commits = 0;
  const repository: TestRepository = {
    path: dir,
    git: (...args) => plainGit(dir, args),
    write: (more) => writeFiles(dir, more),
    commit: (message, more = {}) => {
      writeFiles(dir, more);
      const date = `${1_700_000_000 + 60 * commits++} +0000`;
      plainGit(dir, ['add', '-A']);
      plainGit(dir, ['commit', '-q', '--allow-empty', '-m', message], {
        GIT_AUTHOR_DATE: date,
        GIT_COMMITTER_DATE: date,
      });
      return repository.head();
    },
    head: () => plainGit(dir, ['rev-parse', 'HEAD']),
  };
  repository.git('init', '-q', '-b', 'main', ...init);
  if (Object.keys(files).length > 0) repository.commit('First', files);
  return repository;
}
