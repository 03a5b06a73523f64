import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gitServer } from '../../../test/support/git-server.ts';
import { makeRepository, plainEnv, plainGit, type TestRepository } from '../../../test/support/repository.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { AppError } from '../../errors.ts';
import { whatToSend } from './send.ts';

interface Scene {
  clone: TestRepository;
  url: string;
  root: string;
}

/** A clone of a repository at a forge, with one pushed commit. */
async function scene(): Promise<Scene> {
  const root = tempDir();
  plainGit(root, ['init', '-q', '--bare', '-b', 'main', 'project.git']);
  const url = `${await gitServer(root)}/project.git`;
  const clone = makeRepository(join(root, 'clone'), { a: 'a\n' });
  clone.git('remote', 'add', 'origin', url);
  // Not by execFileSync: the forge lives in this process.
  await push(clone, '-u', 'origin', 'main');
  return { clone, url, root };
}

async function push(repository: TestRepository, ...args: string[]): Promise<void> {
  const { execa } = await import('execa');
  await execa('git', ['push', '-q', ...args], { cwd: repository.path, env: plainEnv, extendEnv: false });
}

const send = (folder: string, ref?: string) => whatToSend(plainEnv, folder, ref);

async function refusal(promise: Promise<unknown>): Promise<AppError> {
  const thrown: unknown = await promise.catch((error: unknown) => error);
  if (thrown instanceof AppError) return thrown;
  throw new Error(`it was not refused: ${JSON.stringify(thrown)}`);
}

describe('what a server elsewhere is told of a clone', () => {
  test('the remote of the branch and the commit, from a folder within; what is not committed is counted', async () => {
    const { clone, url } = await scene();
    const base = clone.head();
    expect(await send(clone.path)).toEqual({ repository: url, ref: base, remarks: [] });
    clone.write({ 'sub/new.txt': 'new\n', a: 'changed\n' });
    const { remarks } = await send(join(clone.path, 'sub'));
    expect(remarks).toEqual([
      `2 uncommitted changes here are not part of the run: it starts from commit ${base.slice(0, 12)} of ${url}.`,
    ]);
    expect((await send(clone.path, 'main')).remarks).toEqual([]);
  });

  test('a commit that was not pushed is refused with the command that mends it; pushed elsewhere, it is found', async () => {
    const { clone, url } = await scene();
    const next = clone.commit('Next', { a: 'b\n' });
    const error = await refusal(send(clone.path));
    expect(error).toMatchObject({ code: 'not_pushed', exitCode: 4, hint: 'Push it first: git push -u origin main' });
    expect(error.message).toBe(
      `Commit ${next.slice(0, 12)} (the tip of main) is not on origin, ${url}: the server cannot have it.`,
    );
    // Pushed by URL: this clone's own picture of the remote does not move, the remote itself has to be asked.
    await push(clone, url, 'main:refs/heads/other');
    expect((await send(clone.path)).ref).toBe(next);
    expect((await send(clone.path, 'HEAD~1')).ref).toBe(clone.git('rev-parse', 'HEAD~1'));
    clone.git('checkout', '-q', '--detach');
    clone.commit('Detached', { a: 'c\n' });
    expect((await refusal(send(clone.path))).hint).toBe('Push it first: git push origin HEAD:refs/heads/<branch>');
  });

  test('an older commit is on the remote when a tip that is here follows it', async () => {
    const { clone, url } = await scene();
    const old = clone.head();
    clone.commit('Next', { a: 'b\n' });
    await push(clone, url, 'main:refs/heads/main');
    clone.git('update-ref', '-d', 'refs/remotes/origin/main');
    expect((await send(clone.path, old)).ref).toBe(old);
  });

  test('no remote, a path as remote, several remotes, no commit, no repository', async () => {
    const { clone, root, url } = await scene();
    expect(await refusal(send(root))).toMatchObject({ code: 'repository_not_git' });
    const alone = makeRepository(join(root, 'alone'), { a: 'a\n' });
    expect(await refusal(send(alone.path))).toMatchObject({
      code: 'repository_unreachable',
      hint: expect.stringContaining('git remote add origin') as string,
    });
    alone.git('remote', 'add', 'origin', join(root, 'project.git'));
    expect((await refusal(send(alone.path))).message).toContain('a path of this machine');
    const empty = makeRepository(join(root, 'empty'), {});
    expect(await refusal(send(empty.path))).toMatchObject({ code: 'repository_empty' });
    expect(await refusal(send(clone.path, 'nothing'))).toMatchObject({ code: 'unknown_ref' });

    clone.git('remote', 'rename', 'origin', 'team');
    expect((await send(clone.path)).repository).toBe(url);
    clone.git('remote', 'add', 'fork', 'https://example.invalid/fork.git');
    expect((await send(clone.path)).repository).toBe(url);
    clone.git('branch', '--unset-upstream');
    expect((await refusal(send(clone.path))).message).toMatch(/no remote named origin.*fork, team/);
  });

  test('ssh addresses go as they are, a password does not go, and a remote that gives no answer is left to the server', async () => {
    const { clone } = await scene();
    const base = clone.head();
    clone.git('config', 'core.sshCommand', 'false');
    for (const address of ['git@forge.invalid:team/project.git', 'ssh://git@forge.invalid/team/project.git']) {
      clone.git('remote', 'set-url', 'origin', address);
      // The clone knows the commit as pushed.
      expect(await send(clone.path)).toEqual({ repository: address, ref: base, remarks: [] });
    }
    const next = clone.commit('Next', { a: 'b\n' });
    const { ref, remarks } = await send(clone.path);
    expect(ref).toBe(next);
    expect(remarks[0]).toMatch(/^origin could not be asked whether it has commit/);
    clone.git('remote', 'set-url', 'origin', 'https://me:s3cret@127.0.0.1:1/project.git');
    const masked = await send(clone.path);
    expect(masked.repository).toBe('https://me@127.0.0.1:1/project.git');
    expect(JSON.stringify(masked)).not.toContain('s3cret');
    expect(masked.remarks[0]).toContain('is kept here');
  });
});
