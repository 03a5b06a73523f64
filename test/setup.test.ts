import { execa } from 'execa';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { tempDir } from './support/temp.ts';

const program = join(import.meta.dirname, '../scripts/setup.mjs');

/** A clone with nothing but what the set-up reads, and an npm that only notes what it was asked and brings a Node. */
function makeClone() {
  const root = tempDir();
  const bin = join(root, 'machine');
  const calls = join(root, 'npm-calls');
  mkdirSync(join(root, 'scripts'));
  mkdirSync(bin);
  cpSync(program, join(root, 'scripts/setup.mjs'));
  writeFileSync(join(root, 'package.json'), '{"dependencies":{"a":"1.0.0"}}');
  writeFileSync(join(root, 'package-lock.json'), '{"lockfileVersion":3}');
  writeFileSync(calls, '');
  const command = (name: string, script: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  const workingNpm = `echo "$@ scarf=$SCARF_ANALYTICS" >> '${calls}'
sleep 0.3
mkdir -p node_modules/.bin
ln -sf '${process.execPath}' node_modules/.bin/node
echo 'added 1 package'`;
  command('npm', workingNpm);
  return {
    root,
    command,
    repairNpm: () => command('npm', workingNpm),
    npmCalls: () => readFileSync(calls, 'utf8').split('\n').filter(Boolean),
    setUp: (nodeArgs: string[] = []) =>
      execa(process.execPath, [...nodeArgs, join(root, 'scripts/setup.mjs')], {
        env: { PATH: `${bin}${delimiter}${process.env['PATH']}` },
        reject: false,
      }),
  };
}

describe('scripts/setup.mjs', () => {
  it('installs once, says so in one line, and again only when other packages are wanted', async () => {
    const { root, setUp, npmCalls } = makeClone();

    expect(await setUp()).toMatchObject({ exitCode: 0, stdout: '', stderr: 'Setting up (once, about a minute)…' });
    expect(npmCalls()).toEqual(['ci --include=dev --no-audit --no-fund --loglevel=error scarf=false']);

    expect(await setUp()).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
    writeFileSync(join(root, 'package.json'), '{"scripts":{"new":"echo"},"dependencies":{"a":"1.0.0"}}');
    expect(await setUp()).toMatchObject({ exitCode: 0, stderr: '' });
    expect(npmCalls()).toHaveLength(1);

    writeFileSync(join(root, 'package-lock.json'), '{"lockfileVersion":3,"packages":{}}');
    expect(await setUp()).toMatchObject({ exitCode: 0, stderr: 'Setting up (once, about a minute)…' });
    expect(npmCalls()).toHaveLength(2);
  });

  it('shows what npm said when npm fails, and tries again the next time', async () => {
    const { setUp, command, repairNpm, npmCalls } = makeClone();
    command('npm', 'echo "registry is away" >&2; exit 7');

    const failed = await setUp();
    expect(failed.exitCode).toBe(5);
    expect(failed.stderr).toContain('registry is away');
    expect(failed.stderr).toContain('npm ci ended with 7');

    repairNpm();
    expect((await setUp()).exitCode).toBe(0);
    expect(npmCalls()).toHaveLength(1);
  });

  it('says what to do when npm brought no Node', async () => {
    const { setUp, command } = makeClone();
    command('npm', 'mkdir -p node_modules');
    const failed = await setUp();
    expect(failed.exitCode).toBe(5);
    expect(failed.stderr).toContain('npm rebuild node --ignore-scripts=false');
  });

  it('installs once when two are started together, also after one that died', async () => {
    const { root, setUp, npmCalls } = makeClone();
    const dead = await execa(process.execPath, ['-p', 'process.pid']);
    mkdirSync(join(root, '.setup-lock'));
    writeFileSync(join(root, '.setup-lock/pids'), dead.stdout);

    const both = await Promise.all([setUp(), setUp()]);
    expect(both.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    expect(npmCalls()).toHaveLength(1);
  });

  it('takes npm down with it when it is stopped, and starts again the next time', async () => {
    const { root, setUp, command, repairNpm } = makeClone();
    const started = join(root, 'npm-pid');
    command('npm', `echo $$ > '${started}.new' && mv '${started}.new' '${started}'; sleep 60`);
    const stopped = setUp();
    await vi.waitUntil(() => existsSync(started), { timeout: 10_000 });
    stopped.kill('SIGTERM');

    expect(await stopped).toMatchObject({ exitCode: 5, stderr: expect.stringContaining('stopped by SIGTERM') });
    expect(() => process.kill(Number(readFileSync(started, 'utf8')), 0)).toThrow('ESRCH');

    repairNpm();
    expect((await setUp()).exitCode).toBe(0);
  });

  it('waits for the npm of a set-up that was killed', async () => {
    const { root, setUp, npmCalls } = makeClone();
    const orphan = execa('sleep', ['60'], { detached: true, reject: false });
    mkdirSync(join(root, '.setup-lock'));
    writeFileSync(join(root, '.setup-lock/pids'), `-${orphan.pid}`);

    const waiting = setUp();
    const [line] = await once(waiting.stderr, 'data');
    expect(String(line)).toBe('Another setup is running here: waiting for it…\n');
    expect(npmCalls()).toEqual([]);
    orphan.kill();
    expect((await waiting).exitCode).toBe(0);
    expect(npmCalls()).toHaveLength(1);
  });

  it('names the git or Node that is missing or too old', async () => {
    const { setUp, command, npmCalls } = makeClone();
    const oldNode = `data:text/javascript,Object.defineProperty(process,'version',{value:'v18.20.1'})`;
    const onOldNode = await setUp(['--import', oldNode]);
    expect(onOldNode.exitCode).toBe(5);
    expect(onOldNode.stderr).toMatch(/^Node v18\.20\.1 is too old: AIdeator needs Node 20\.0 or newer/);

    command('git', 'echo git version 2.25.1');
    const onOldGit = await setUp();
    expect(onOldGit.exitCode).toBe(5);
    expect(onOldGit.stderr).toMatch(/^git version 2\.25\.1 is too old: AIdeator needs git 2\.\d+ or newer/);

    command('git', 'exit 127');
    expect((await setUp()).stderr).toMatch(/^git was not found/);
    expect(npmCalls()).toEqual([]);
  });
});
