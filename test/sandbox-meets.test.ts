import { readdirSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { probeSandbox } from '../src/agent/sandbox/probe.ts';
import { mountsOf } from '../src/agent/sandbox/mounts.ts';
import { attemptPaths } from '../src/agent/claim.ts';
import { loadConfig } from '../src/config.ts';
import { sandboxLimits } from '../src/contract/sandbox.ts';
import { isolationOf, sandboxOf } from '../src/flow/sandbox.ts';
import { egressScene, listenTcp } from './support/egress.ts';
import { startTestHouse } from './support/house.ts';
import { hostile, outcome } from './support/hostile.ts';
import { ACP_AGENT } from './support/recorded.ts';
import { noSandbox } from './support/sandbox.ts';
import { makeGate, steer, steered } from './support/steering.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

/** The sandbox where other parts meet it: prompts that follow, forks, the way to other hosts. */

describe.skipIf(noSandbox !== null)('in the sandbox', () => {
  test('a variation is told more while it works and when it is over, and forked; its workspace shares no file with the mirror', async () => {
    const gate = makeGate();
    const support = dirname(ACP_AGENT);
    const agents = Object.fromEntries(
      Object.entries(steered.settings.agents).map(([name, each]) => [name, { ...each, read_paths: [support] }]),
    );
    const house = await startTestHouse({
      script: steered.script,
      settings: {
        ...{ ...steered.settings, agents, keep_workspaces: true },
        sandbox: { mode: 'required', read_paths: [dirname(gate.path)] },
      },
    });
    const { submit, running, tell, over, said, fork, run, patch } = steer(house);
    const runId = await submit(`write a.txt=one\ngate ${gate.path}`);
    await running(runId);
    const first = (await run(runId)).variations[0]!.attempts[0]!.attempt_id;
    const { workspace } = attemptPaths(join(house.dataDir, 'attempts', first));
    const prompts = join(house.dataDir, 'attempts', first, 'prompts');
    await tell(runId, 0, `append a.txt=two\nsee ${prompts}\nsee ${house.dataDir}/aideator.sqlite\nsay done`);
    await until(() => readdirSync(prompts).some((name) => name.endsWith('.json')));
    gate.open();
    await over(runId);
    expect(await said(runId, 0, 0)).toEqual([
      `${prompts} is not there`,
      `${house.dataDir}/aideator.sqlite is not there`,
      'done',
    ]);
    expect(readdirSync(prompts)).toEqual([]);
    await tell(runId, 0, 'see a.txt\nappend a.txt=three');
    await over(runId);
    await fork(runId, { from: 0, attempt: 0, agent: 'other', prompt: 'see a.txt\nappend a.txt=four' });
    const { variations } = await over(runId);
    expect(variations.map(({ status }) => status)).toEqual(['succeeded', 'succeeded']);
    expect(variations.flatMap(({ attempts }) => attempts.map(({ isolation }) => isolation.slice(0, 20)))).toEqual([
      'sandbox (bubblewrap ',
      'sandbox (bubblewrap ',
      'sandbox (bubblewrap ',
    ]);
    expect(await said(runId, 0, 1)).toEqual(['a.txt is "one\\ntwo\\n"']);
    expect(await said(runId, 1, 0)).toEqual(['a.txt is "one\\ntwo\\n"']);
    expect(await patch(runId, 0)).toContain('+one\n+two\n+three\n');
    expect(await patch(runId, 1)).toContain('+one\n+two\n+four\n');
    const again = variations[0]!.attempts[1]!.attempt_id;
    for (const dir of [workspace, attemptPaths(join(house.dataDir, 'attempts', again)).workspace]) {
      const objects = readdirSync(join(dir, '.git', 'objects'), { recursive: true, withFileTypes: true });
      const files = objects.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name));
      expect([...new Set(files.map((file) => statSync(file).nlink))]).toEqual([1]);
    }
  });

  test('a tunnel to another host has an end on one side while the other speaks on, and none outlives the agent', async () => {
    let heard = '';
    const host = await listenTcp((socket) => {
      socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
      socket.once('end', () => socket.end('x'.repeat(3_000_000)));
    });
    const scene = await egressScene([host.at]);
    const program = (end: string): string => `
      const socket = require('net').connect({ port: new URL(process.env.HTTPS_PROXY).port, host: '127.0.0.1', allowHalfOpen: true });
      let bytes = 0;
      socket.write('CONNECT ${host.at} HTTP/1.1\\r\\nhost: ${host.at}\\r\\n\\r\\n');
      socket.once('data', (head) => {
        bytes -= String(head).indexOf('\\r\\n\\r\\n') + 4 - head.length;
        socket.on('data', (chunk) => (bytes += chunk.length));
        socket.on('end', () => { console.log(String(head).split(' ')[1] + ' ' + bytes); process.exit(); });
        ${end}
      });`;
    const half = program(`socket.end('all of it');`);
    // Another one stays open, of a process that runs on when the agent has ended.
    const open = program(
      `socket.write('left open;', () => require('fs').writeFileSync(process.env.TMPDIR + '/open', ''));`,
    );
    const run = (code: string): string => `${process.execPath} -e "${code.replaceAll('\n', ' ')}"`;
    const attempt = hostile(
      {
        'shell leave one open': `(setsid ${run(open)} >/dev/null 2>&1 &) ; until [ -e $TMPDIR/open ]; do sleep 0.05; done; echo left`,
        'shell end one half': run(half),
      },
      {},
    );
    attempt.spec.egress = true;
    attempt.spec.door = { socket: scene.where.socket!, token: scene.token };
    const { outcomes } = await outcome(attempt);
    expect(outcomes).toEqual({ 'shell leave one open': 'reached left', 'shell end one half': 'reached 200 3000000' });
    expect(heard).toBe('left open;all of it');
    await until(() => host.sockets.size === 0 && scene.facts.filter(({ kind }) => kind === 'closed').length === 2);
  });

  test('a data directory and a home behind a link are hidden where they really lie', async () => {
    const found = await probeSandbox(process.env, sandboxLimits.parse({}));
    if (!found.works) throw new Error(found.reason);
    const real = tempDir();
    const linked = join(tempDir(), 'link');
    symlinkSync(real, linked);
    const { config } = loadConfig({ env: { HOME: linked }, cwd: '/', flags: { data_dir: linked } });
    const spec = sandboxOf(
      {
        config,
        sandbox: { found, again: () => Promise.resolve() },
        runtime: { name: 'local' } as never,
      },
      0,
    );
    expect(spec.hidden).toEqual([linked, real]);
    // As where /opt is shown, and the directory lies in it.
    const view = { shown: [{ path: dirname(real) }], writable: [], placed: {}, hidden: spec.hidden };
    expect(mountsOf(view)).toContainEqual({ kind: 'empty', path: real });
  });
});

test('what isolation a pod gives names the hosts that are opened, as a sandbox’s does', () => {
  const sandbox = { allow_hosts: ['registry.example.com'], read_paths: ['/srv/tools'] };
  const { config } = loadConfig({ env: { HOME: tempDir() }, cwd: '/', flags: { sandbox } });
  const runtime = { name: 'kubernetes', isolation: 'pod' } as never;
  const house = { config, runtime, sandbox: { found: null, again: () => Promise.resolve() } };
  expect(isolationOf(house, 0)).toBe('pod; allow_hosts also opens registry.example.com');
});
