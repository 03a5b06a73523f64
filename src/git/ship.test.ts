import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { git, makeAttempt } from '../../test/support/attempt.ts';
import { makeRepository, plainGit, writeFiles, type TestRepository } from '../../test/support/repository.ts';
import { tempDir } from '../../test/support/temp.ts';
import type { Git } from './command.ts';
import { applyToWorkTree, makeCommit, shipBranch, type CommitRequest } from './ship.ts';

interface Scene {
  repository: TestRepository;
  commit: string;
  gitDir: string;
  patchFile: string;
  request: CommitRequest;
  marker: string;
  ship(branch: string, options?: { force?: boolean; repository?: string; commit?: string }): Promise<void>;
}

const DATE = new Date('2026-01-02T03:04:05Z');

/** A repository with a change made by an attempt, ready to be shipped; its hooks would leave a marker. */
async function scene(init: readonly string[] = []): Promise<Scene> {
  const attempt = await makeAttempt({ a: 'one\ntwo\nthree\n', b: 'b\n' }, init);
  const { repository, source, base, patchFile } = attempt;
  writeFiles(attempt.workspace, { a: 'one\n2\nthree\n', 'new/file': 'n\n', b: null });
  const { tree } = await attempt.take();
  const gitDir = join(tempDir(), 'ship.git');
  const request: CommitRequest = {
    source,
    base,
    patchFile,
    tree,
    message: 'Title\n\n# not a comment\n  kept  \n',
    author: { name: 'A <Person>\n', email: 'a@example.com' },
    date: DATE,
    gitDir,
  };
  const commit = await makeCommit(git, request);
  const marker = join(tempDir(), 'marker');
  const hooks = join(repository.path, '.git/hooks');
  mkdirSync(hooks, { recursive: true });
  for (const hook of ['reference-transaction', 'post-checkout', 'pre-push', 'post-index-change'])
    writeFiles(hooks, { [hook]: { executable: `#!/bin/sh\ntouch ${marker}\n` } });
  return {
    repository,
    commit,
    gitDir,
    patchFile,
    request,
    marker,
    ship: (branch, options = {}) =>
      shipBranch(git, { repository: repository.path, commit, gitDir, force: false, branch, ...options }),
  };
}

/** Everything of a work tree that shipping a branch must leave alone. */
const state = ({ path, git: run }: TestRepository): string =>
  [
    run('symbolic-ref', 'HEAD'),
    run('rev-parse', 'HEAD'),
    run('-c', 'core.hooksPath=/dev/null', 'status', '--porcelain'),
    run('ls-files', '-s'),
    existsSync(join(path, 'new')),
  ].join('\n');

describe('the commit', () => {
  test('is the base with the patch, its message and author byte for byte, and the same each time', async () => {
    const { commit, gitDir, request } = await scene();
    const show = (format: string) => plainGit(gitDir, ['show', '-s', `--format=${format}`, commit]);
    expect(show('%P %T')).toBe(`${request.base} ${request.tree}`);
    expect(show('%an|%ae|%cn|%at')).toBe(`A Person|a@example.com|A Person|${DATE.getTime() / 1000}`);
    expect(plainGit(gitDir, ['cat-file', 'commit', commit])).toMatch(/\n\nTitle\n\n# not a comment\n {2}kept {2}$/);
    expect(await makeCommit(git, { ...request, gitDir: join(tempDir(), 'again.git') })).toBe(commit);
    expect(await makeCommit(git, request)).toBe(commit);
  });

  test('needs neither name nor date, but the right tree', async () => {
    const { request, gitDir } = await scene();
    const commit = await makeCommit(git, {
      ...request,
      author: { name: '<>', email: '' },
      date: undefined,
      message: '',
    });
    expect(plainGit(gitDir, ['show', '-s', '--format=%an <%ae>', commit])).toBe(
      'AIdeator <aideator@localhost.invalid>',
    );
    await expect(makeCommit(git, { ...request, tree: '0'.repeat(40) })).rejects.toMatchObject({
      code: 'patch_invalid',
    });
  });
});

describe('a branch in a local repository', () => {
  test('is made without touching anything else, and no hook is run', async () => {
    const { repository, commit, ship, marker } = await scene();
    repository.write({ a: 'uncommitted\n', untracked: 'x\n' });
    const before = state(repository);
    rmSync(marker, { force: true });
    await ship('aideator/run-0');
    expect(repository.git('rev-parse', 'aideator/run-0')).toBe(commit);
    expect(repository.git('fsck', '--connectivity-only', 'aideator/run-0')).toBe('');
    expect(state(repository)).toBe(before);
    expect(existsSync(marker)).toBe(false);
    // Once more changes nothing.
    await ship('aideator/run-0');
  });

  test('an existing one is moved only when forced, a checked-out one never', async () => {
    const { repository, commit, gitDir, ship } = await scene();
    repository.git('branch', 'taken');
    const base = repository.head();
    await expect(ship('taken')).rejects.toMatchObject({ code: 'branch_exists', hint: expect.any(String) });
    expect(repository.git('rev-parse', 'taken')).toBe(base);
    await ship('taken', { force: true });
    expect(repository.git('rev-parse', 'taken')).toBe(commit);
    await expect(ship('main')).rejects.toMatchObject({ code: 'branch_exists' });
    await expect(ship('main', { force: true })).rejects.toMatchObject({ code: 'branch_checked_out' });
    repository.git(
      '-c',
      'core.hooksPath=/dev/null',
      'worktree',
      'add',
      '-q',
      '-b',
      'elsewhere',
      join(tempDir(), 'linked'),
    );
    await expect(ship('elsewhere', { force: true })).rejects.toMatchObject({ code: 'branch_checked_out' });
    // An older git would move it.
    const older: Git = (args, options) =>
      args[0] === 'branch' ? git(['update-ref', `refs/heads/${args.at(-2)}`, commit], options) : git(args, options);
    const request = { repository: repository.path, commit, gitDir, branch: 'elsewhere', force: true };
    await expect(shipBranch(older, request)).rejects.toMatchObject({
      code: 'branch_checked_out',
      message: expect.stringMatching(/work tree .*linked\.$/),
    });
    expect(repository.git('rev-parse', 'main', 'elsewhere')).toBe(`${base}\n${base}`);
    await expect(ship('taken/deeper')).rejects.toMatchObject({ code: 'ship_failed' });
  });

  test.each(['-x', 'a..b', 'a b', '@{-1}', 'HEAD', '', 'x.lock', 'a\0b', '/a', 'refs/../x'])(
    '%j is no branch',
    async (branch) => {
      const never: Git = (args, options) =>
        args[0] === 'check-ref-format' ? git(args, options) : Promise.reject(new Error(`git ${args[0]} was run`));
      await expect(
        shipBranch(never, { repository: '/tmp', commit: '0'.repeat(40), branch, force: false, gitDir: '/tmp' }),
      ).rejects.toMatchObject({ code: 'invalid_branch' });
    },
  );

  test('bare, shallow and SHA-256 repositories, and one that is gone', async () => {
    const { repository, commit, ship } = await scene();
    const root = tempDir();
    plainGit(root, ['clone', '-q', '--bare', repository.path, 'bare']);
    await ship('shipped', { repository: join(root, 'bare') });
    expect(plainGit(join(root, 'bare'), ['rev-parse', 'shipped'])).toBe(commit);
    plainGit(root, ['clone', '-q', '--depth=1', `file://${repository.path}`, 'shallow']);
    await ship('shipped', { repository: join(root, 'shallow') });
    expect(plainGit(join(root, 'shallow'), ['rev-parse', 'shipped'])).toBe(commit);
    const wide = await scene(['--object-format=sha256']);
    await wide.ship('shipped');
    expect(wide.repository.git('rev-parse', 'shipped')).toBe(wide.commit);
    await expect(ship('x', { repository: join(root, 'gone') })).rejects.toMatchObject({ code: 'repository_not_found' });
    await expect(wide.ship('x', { repository: repository.path })).rejects.toMatchObject({ code: 'ship_failed' });
  });

  test("another user's repository is left alone", async () => {
    const { repository, commit, gitDir, patchFile } = await scene();
    const foreign: Git = (args, options) =>
      git(args, { ...options, env: { ...options?.env, GIT_TEST_ASSUME_DIFFERENT_OWNER: '1' } });
    const expected = { code: 'repository_unreachable', hint: expect.stringContaining('safe.directory') };
    await expect(
      shipBranch(foreign, { repository: repository.path, commit, branch: 'x', force: false, gitDir }),
    ).rejects.toMatchObject(expected);
    await expect(applyToWorkTree(foreign, { repository: repository.path, patchFile })).rejects.toMatchObject(expected);
  });
});

describe('a branch at a URL', () => {
  test('is pushed; an existing one only when forced', async () => {
    const { repository, commit, ship } = await scene();
    const bare = join(tempDir(), 'remote.git');
    plainGit(tempDir(), ['clone', '-q', '--bare', repository.path, bare]);
    const url = `file://${bare}`;
    const at = (branch: string) => plainGit(bare, ['rev-parse', branch]);
    await ship('new', { repository: url });
    expect(at('new')).toBe(commit);
    await ship('new', { repository: url });
    await expect(ship('main', { repository: url })).rejects.toMatchObject({ code: 'branch_exists' });
    expect(at('main')).toBe(repository.head());
    await ship('main', { repository: url, force: true });
    expect(at('main')).toBe(commit);
  });

  test('what the remote refuses is said in its words', async () => {
    const { repository, ship } = await scene();
    await expect(ship('main', { repository: `file://${repository.path}`, force: true })).rejects.toMatchObject({
      code: 'branch_checked_out',
    });
    const bare = join(tempDir(), 'remote.git');
    plainGit(tempDir(), ['clone', '-q', '--bare', repository.path, bare]);
    writeFiles(join(bare, 'hooks'), {
      'pre-receive': { executable: '#!/bin/sh\necho "branches need a ticket" >&2\nexit 1\n' },
    });
    await expect(ship('new', { repository: `file://${bare}` })).rejects.toMatchObject({
      code: 'ship_failed',
      message: expect.stringContaining('branches need a ticket'),
    });
    await expect(ship('new', { repository: 'file:///nowhere/at/all' })).rejects.toMatchObject({
      code: expect.stringMatching(/^repository_not_/),
    });
  });

  test('a branch that somebody made meanwhile is not overwritten', async () => {
    const { repository, commit, gitDir } = await scene();
    const bare = join(tempDir(), 'remote.git');
    plainGit(tempDir(), ['clone', '-q', '--bare', repository.path, bare]);
    const racing: Git = (args, options) => {
      if (args[0] === 'push') plainGit(bare, ['branch', 'new', 'main']);
      return git(args, options);
    };
    await expect(
      shipBranch(racing, { repository: `file://${bare}`, commit, branch: 'new', force: false, gitDir }),
    ).rejects.toMatchObject({ code: 'branch_exists' });
    expect(plainGit(bare, ['rev-parse', 'new'])).toBe(repository.head());
  });

  test('a password is needed', async () => {
    const { ship } = await scene();
    const server = createServer((_request, response) =>
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
    );
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    onTestFinished(() => void server.close());
    await expect(
      ship('x', { repository: `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.git` }),
    ).rejects.toMatchObject({ code: 'repository_auth_required' });
  });
});

describe('onto the work tree', () => {
  test('the files change, the index and HEAD do not; a folder below the top will do', async () => {
    const { repository, patchFile } = await scene();
    repository.write({ 'deep/untracked': 'x\n' });
    const head = repository.head();
    await applyToWorkTree(git, { repository: join(repository.path, 'deep'), patchFile });
    expect(readFileSync(join(repository.path, 'a'), 'utf8')).toBe('one\n2\nthree\n');
    expect(readFileSync(join(repository.path, 'new/file'), 'utf8')).toBe('n\n');
    expect(existsSync(join(repository.path, 'b'))).toBe(false);
    expect(repository.head()).toBe(head);
    expect(repository.git('diff', '--cached', '--name-only')).toBe('');
  });

  test('all or nothing: where one file does not fit, none is changed', async () => {
    const { repository, patchFile } = await scene();
    repository.write({ a: 'one\nother\nthree\n' });
    await expect(applyToWorkTree(git, { repository: repository.path, patchFile })).rejects.toMatchObject({
      code: 'patch_does_not_apply',
      message: expect.stringContaining('a: patch does not apply'),
      hint: expect.stringContaining('branch'),
    });
    expect(readFileSync(join(repository.path, 'a'), 'utf8')).toBe('one\nother\nthree\n');
    expect(existsSync(join(repository.path, 'b'))).toBe(true);
    expect(existsSync(join(repository.path, 'new'))).toBe(false);
  });

  test('an empty patch changes nothing; a bare repository or a missing one is an error', async () => {
    const { repository, patchFile } = await scene();
    const empty = join(tempDir(), 'empty');
    writeFileSync(empty, '');
    await applyToWorkTree(git, { repository: repository.path, patchFile: empty });
    const bare = makeRepository(join(tempDir(), 'bare'), {}, ['--bare']);
    await expect(applyToWorkTree(git, { repository: bare.path, patchFile })).rejects.toMatchObject({
      code: 'ship_failed',
    });
    await expect(applyToWorkTree(git, { repository: join(bare.path, 'gone'), patchFile })).rejects.toMatchObject({
      code: 'repository_not_found',
    });
  });
});
