import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findBubblewrap } from '../src/agent/sandbox/probe.ts';
import type { Run, Submitted } from '../src/contract/api.ts';
import type { Info, Problem } from '../src/contract/api-system.ts';
import { startTestHouse, type TestHouse } from './support/house.ts';
import { ACP_AGENT, prepareAttempt } from './support/recorded.ts';
import { noSandbox } from './support/sandbox.ts';
import { sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

/** A run in a sandbox from its submission to its patch, and what happens where there is none. */

const look = [
  'id -un; hostname; echo $HOME; touch /usr/x 2>&1; ls -d /root /home /var 2>&1; ls /etc/shadow 2>&1',
  'node --version; python3 --version 2>&1; git -C . log --oneline | wc -l; git commit -qam tried 2>&1; env | sort',
  'cat /proc/net/dev | grep -c :; ls /proc | grep -c "^[0-9]"',
].join('; ');
const script = `
models:
  worker:
    turns:
      - { tools: [{ name: bash, input: { command: ${JSON.stringify(look)} } }] }
      - { tools: [{ name: write, input: { path: value.txt, content: "A\\n" } }] }
      - { text: Done. }
`;
const settings = { default_model: 'scripted/worker', sandbox: { mode: 'auto' } };
const repository = (): string => sourceRepository({ 'value.txt': 'none\n' });

describe.skipIf(noSandbox !== null)('with a sandbox', () => {
  test('the built-in agent works in it over both protocols, with its tools, and its work is the result', async () => {
    const node = dirname(process.execPath);
    const house = await startTestHouse({ script, settings, env: { PATH: `${node}:/usr/bin:/bin` } });
    const { body: submitted } = await house.api<Submitted>('POST', '/api/v1/runs', {
      repository: repository(),
      prompt: 'Set the value.',
      variations: [{}, { dialect: 'openai' }],
    });
    const run = await house.over(submitted.run_id);
    expect(run.variations.map((each) => [each.status, each.end_reason, each.message])).toEqual([
      ['succeeded', 'end_turn', null],
      ['succeeded', 'end_turn', null],
    ]);
    const { body: info } = await house.api<Info>('GET', '/api/v1/info');
    for (const words of [info.isolation, submitted.isolation, run.variations[0]?.attempts[0]?.isolation])
      expect(words).toMatch(/^sandbox \(bubblewrap and a seccomp filter\)/);
    expect(info.sandbox).toEqual({ kind: 'bubblewrap', problem: null, hint: null });

    const { text } = await house.api('GET', `/api/v1/runs/${submitted.run_id}/outputs?variation_id=0&limit=500`);
    const attempt = join(house.dataDir, 'attempts', run.variations[0]!.attempts[0]!.attempt_id);
    for (const said of ['agent\\naideator\\n', `${attempt}/home\\n`, 'v24.', 'Python 3', '\\n1\\n'])
      expect(text).toContain(said);
    expect(text).toMatch(/touch: cannot touch '\/usr\/x': Read-only file system/);
    for (const path of ['/root', '/home', '/var', '/etc/shadow'])
      expect(text).toMatch(new RegExp(`cannot access '${path}': No such file`));
    // One network interface, and bubblewrap, the init, the agent, its shell, ls and grep at the most.
    expect(text).toMatch(/\\n1\\n[3-7]/);
    const { body: shipped } = await house.api<Run>('POST', `/api/v1/runs/${submitted.run_id}/select`, {
      winning_variation_id: 0,
    });
    expect(shipped.choice?.winning_variation_id).toBe(0);
  });

  test('its workspace shares no file with the mirror; without a sandbox it may', async () => {
    const house = await startTestHouse({
      script,
      settings: {
        ...settings,
        keep_workspaces: true,
        sandbox: { mode: 'auto', read_paths: [dirname(ACP_AGENT)] },
        agents: { writer: { command: ['{node}', ACP_AGENT, 'write', 'value.txt=A'] } },
      },
    });
    const source = repository();
    const linksOf = async (request: object): Promise<number> => {
      const runId = await house.submit({ repository: source, prompt: 'x', variations: 1, agent: 'writer', ...request });
      const run = await house.over(runId);
      expect([run.variations[0]?.status, run.variations[0]?.message]).toEqual(['succeeded', null]);
      return mostLinks(
        join(house.dataDir, 'attempts', run.variations[0]!.attempts[0]!.attempt_id, 'workspace', '.git'),
      );
    };
    expect(await linksOf({})).toBe(1);
    expect(await linksOf({ sandbox: false })).toBeGreaterThan(1);
  });

  test('what the sandbox does not show is missing with words, and is opened by configuration', async () => {
    const outside = join(tempDir(), 'tool');
    writeFileSync(outside, '#!/bin/sh\nexec true\n', { mode: 0o755 });
    const end = async (command: string[], read_paths: string[]): Promise<string> => {
      const attempt = prepareAttempt({ command, sandbox: { read_paths } });
      const { eof } = await attempt.run();
      return `${eof.reason}: ${eof.message}`;
    };
    expect(await end(['{node}', outside], [])).toMatch(
      /^agent_missing: .*tool, which its command names, is outside of its sandbox.*sandbox\.read_paths/,
    );
    expect(await end(['{node}', outside], [dirname(outside)])).toMatch(/^agent_exit: .*SyntaxError/s);
    // A program itself is shown.
    expect(await end([outside], [])).toMatch(/^agent_exit: .*exit code 0/);
    expect(await end(['no-such-agent'], [])).toMatch(/^agent_missing: .*"no-such-agent" was not found on PATH/);
    writeFileSync(outside, '#!/no/such/interpreter\n');
    expect(await end([outside], [])).toMatch(
      /^agent_missing: .*what its first line names was not found in its sandbox/,
    );
  });

  test('signals reach the agent, and how it ended is what is told: a code, a signal', async () => {
    const graces = { cancelMs: 50, terminateMs: 300, leaveMs: 500 };
    const exit = await prepareAttempt({ agent: ['exit', '7'], sandbox: {} }).run({ graces });
    expect([exit.eof.reason, exit.eof.exit]).toEqual(['agent_exit', { code: 7, signal: null }]);
    const died = await prepareAttempt({ agent: ['die'], sandbox: {} }).run({ graces });
    expect([died.eof.reason, died.eof.exit]).toEqual(['agent_exit', { code: null, signal: 'SIGSEGV' }]);

    const stubborn = prepareAttempt({ agent: ['stubborn'], sandbox: {} });
    const stop = new AbortController();
    const ended = stubborn.run({ graces, signal: stop.signal });
    await until(() => readFileSync(join(stubborn.directory, 'journal.ndjson'), 'utf8').includes('staying'));
    stop.abort('cancelled');
    const { eof, of } = await ended;
    expect(eof.reason).toBe('cancelled');
    expect(
      of<{ text?: string }>('stderr')
        .map(({ text }) => text)
        .join(''),
    ).toContain('SIGTERM: no');
  });

  test('a sandbox that cannot be made is named, with bubblewrap’s own words', async () => {
    const attempt = prepareAttempt({ sandbox: { program: '/usr/bin/false' } });
    const { eof } = await attempt.run();
    expect([eof.reason, eof.message]).toEqual([
      'agent_missing',
      'The agent could not be started, because its sandbox could not be made: no reason was given',
    ]);
    const broken = prepareAttempt({ sandbox: { hidden: ['/usr'] } });
    expect((await broken.run()).eof.message).toMatch(/sandbox could not be made: bwrap: .*No such file/);
  });

  test('the configuration may require it, and may switch it off', async () => {
    const sandbox = { mode: 'required', read_paths: ['~/tools'] };
    const required = await startTestHouse({ script, settings: { ...settings, sandbox } });
    const { body: info } = await required.api<Info>('GET', '/api/v1/info');
    expect(info.isolation).toMatch(/; read_paths also opens ~\/tools$/);
    expect(await refusal(required, { sandbox: false })).toMatchObject({ status: 403, code: 'forbidden' });
    const off = await startTestHouse({ script, settings: { ...settings, sandbox: { mode: 'off' } } });
    expect(await refusal(off, { sandbox: true })).toMatchObject({ status: 409, code: 'sandbox_unavailable' });
  });
});

describe('without a sandbox', () => {
  test('a run is refused with what to do, unless it says that it goes without', async () => {
    const bin = tempDir();
    const git = execFileSync('which', ['git'], { encoding: 'utf8' }).trim();
    for (const program of [git, process.execPath, '/bin/sh', '/usr/bin/env'])
      if (existsSync(program)) symlinkSync(program, join(bin, program.slice(program.lastIndexOf('/') + 1)));
    const house = await startTestHouse({ script, settings, env: { PATH: bin } });
    const refused = await refusal(house, {});
    expect(refused).toMatchObject({ status: 409, code: 'sandbox_unavailable' });
    expect(refused.detail).toContain('bubblewrap (bwrap) is not on the PATH');
    expect(refused.hint).toContain('apt install bubblewrap');
    expect(refused.hint).toContain('--no-sandbox');
    const { body: info } = await house.api<Info>('GET', '/api/v1/info');
    expect(info.sandbox).toMatchObject({ kind: 'none', problem: 'bubblewrap (bwrap) is not on the PATH.' });
    expect(info.isolation).toMatch(/^none: no sandbox works here/);

    const runId = await house.submit({ repository: repository(), prompt: 'x', variations: 1, sandbox: false });
    const [variation] = (await house.over(runId)).variations;
    expect(variation?.status).toBe('succeeded');
    expect(variation?.attempts[0]?.isolation).toContain('rights of the user');

    // Installed meanwhile: the same server finds it.
    if (noSandbox !== null) return;
    symlinkSync(findBubblewrap(process.env['PATH']) ?? '', join(bin, 'bwrap'));
    const again = await house.submit({ repository: repository(), prompt: 'x', variations: 1 });
    expect((await house.over(again)).variations[0]?.attempts[0]?.isolation).toMatch(/^sandbox \(bubblewrap/);
  });
});

async function refusal(house: TestHouse, request: object): Promise<Problem> {
  const body = { repository: repository(), prompt: 'x', variations: 1, ...request };
  return (await house.api<Problem>('POST', '/api/v1/runs', body)).body;
}

/** The most names that a file below a folder has. */
function mostLinks(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(3);
  return Math.max(...files.map((entry) => statSync(join(entry.parentPath, entry.name)).nlink));
}
