import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { startHouse } from '../src/compose.ts';
import { loadConfig } from '../src/config.ts';
import { MAX_PROMPT_BYTES, type EventPage, type SubmitInput } from '../src/contract/api.ts';
import { type Problem } from '../src/contract/api-system.ts';
import { AppError } from '../src/errors.ts';
import { startTestHouse, testEnv } from './support/house.ts';
import { gitAs, sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';

/** Bad input through the public door: each a clear error with what to do, and nothing lost. */

/** An ACP agent that writes the prompt it was given into `prompt.txt`, byte for byte. */
const echoAgent = `
let text = '';
process.stdin.on('data', (chunk) => {
  text += chunk;
  for (let end; (end = text.indexOf('\\n')) >= 0; ) {
    const message = JSON.parse(text.slice(0, end));
    text = text.slice(end + 1);
    const answer = (result) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }) + '\\n');
    if (message.method === 'initialize') answer({ protocolVersion: 1, agentCapabilities: {} });
    if (message.method === 'session/new') answer({ sessionId: 's' });
    if (message.method === 'session/prompt') {
      require('node:fs').writeFileSync('prompt.txt', message.params.prompt.map((block) => block.text).join(''));
      answer({ stopReason: 'end_turn' });
    }
  }
});
`;

async function echoHouse() {
  const home = tempDir();
  writeFileSync(join(home, 'echo.cjs'), echoAgent);
  return startTestHouse({
    home,
    script: 'models: { any: { turns: [{ text: hello }] } }',
    settings: {
      default_model: 'scripted/any',
      default_agent: 'echo',
      agents: { echo: { command: ['{node}', join(home, 'echo.cjs')] } },
    },
  });
}

describe('a submission', () => {
  it('is refused with a code, what is wrong and what to do', async () => {
    const house = await echoHouse();
    const repository = sourceRepository();
    const empty = tempDir();
    gitAs(empty, 'init', '-q');
    const cases: [string, Partial<SubmitInput>, number, string][] = [
      ['no such folder', { repository: '/nowhere/at/all' }, 422, 'repository_not_found'],
      ['not git', { repository: tempDir() }, 422, 'repository_not_git'],
      ['no commit', { repository: empty }, 422, 'repository_empty'],
      ['nobody listens', { repository: 'http://127.0.0.1:9/x.git' }, 422, 'repository_unreachable'],
      ['unknown ref', { ref: 'nope' }, 422, 'unknown_ref'],
      ['a ref that is an option', { ref: '--upload-pack=touch /tmp/x' }, 422, 'unknown_ref'],
      ['empty prompt', { prompt: ' \n\t' }, 422, 'invalid_prompt'],
      ['prompt too long', { prompt: 'x'.repeat(MAX_PROMPT_BYTES + 1) }, 422, 'invalid_prompt'],
      ['half a surrogate pair', { prompt: 'a\uD800b' }, 400, 'invalid_encoding'],
      ['0 variations', { variations: 0 }, 422, 'invalid_variations'],
      ['no variations', { variations: [] }, 422, 'invalid_variations'],
      ['33 variations', { variations: 33 }, 422, 'invalid_variations'],
      ['unknown agent', { agent: 'hal' }, 422, 'unknown_agent'],
      ['unknown provider', { models: ['nobody/m'] }, 422, 'unknown_model'],
      ['unknown scripted model', { models: ['scripted/other'] }, 422, 'unknown_model'],
      ['unknown strategy', { strategies: ['luck'] }, 422, 'unknown_strategy'],
      ['no key', { models: ['anthropic/claude-sonnet-4-5'] }, 422, 'provider_key_missing'],
    ];
    for (const [what, part, status, code] of cases) {
      const answer = await house.api<Problem>('POST', '/api/v1/runs', { repository, prompt: 'Do it.', ...part });
      expect([what, answer.status, answer.body.code]).toEqual([what, status, code]);
      expect(answer.body.detail.length, what).toBeGreaterThan(10);
      expect(answer.body.hint?.length, what).toBeGreaterThan(10);
    }
    expect((await house.api<{ runs: unknown[] }>('GET', '/api/v1/runs')).body.runs).toEqual([]);
  });

  it('says exactly what to set where there is no key', async () => {
    const house = await startTestHouse();
    const answer = await house.api<Problem>('POST', '/api/v1/runs', {
      repository: sourceRepository(),
      prompt: 'Do it.',
    });
    expect(answer.body.code).toBe('provider_key_missing');
    expect(answer.body.hint).toMatch(/ANTHROPIC_API_KEY.*OPENAI_API_KEY.*aideator demo/s);
  });

  it.each([
    [
      'braces, quotes and shell syntax',
      '{{ .Values }} ${HOME} "$(touch /tmp/owned)" `id` \'x\' ; rm -rf / | & > < * ? ~ ! %s \\n',
    ],
    ['line ends, tabs, NUL, ESC and other controls', 'a\nb\r\nc\td\u0000e\u001b[31mf\u007f\u2028g'],
    ['every plane, and nothing normalised', 'e\u0301 \u00e9 \u4f60 \u{1f980} \u200f \ufeff'],
    ['1 MiB', `${'0123456789abcdef'.repeat(MAX_PROMPT_BYTES / 16 - 1)}<the last word>`],
  ])('brings a prompt with %s to the agent byte for byte', async (_what, prompt) => {
    const house = await echoHouse();
    const runId = await house.submit({ repository: sourceRepository(), prompt, variations: 1 });
    const run = await house.over(runId);
    expect(run.variations[0]).toMatchObject({ status: 'succeeded', files_changed: 1 });
    expect(run.prompt).toBe(prompt);
    const branch = `got/${runId}`;
    const repository = run.repository;
    await house.api('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch', variation_id: 0, branch });
    // `git show` is trimmed by the helper: compare what stands before and after.
    expect(gitAs(repository, 'show', `${branch}:prompt.txt`)).toBe(prompt.trim());
  });

  it('runs 1 and 32 variations', async () => {
    const house = await echoHouse();
    const repository = sourceRepository();
    for (const variations of [1, 32]) {
      const run = await house.over(await house.submit({ repository, prompt: 'Do it.', variations }), 120_000);
      expect(run.counts).toMatchObject({ total: variations, succeeded: variations });
    }
  }, 150_000);
});

describe('agents that misbehave', () => {
  it('each end with a reason of their own, and never take the others with them', async () => {
    const home = tempDir();
    writeFileSync(join(home, 'echo.cjs'), echoAgent);
    const sh = (command: string) => ({ command: ['/bin/sh', '-c', command] });
    const house = await startTestHouse({
      home,
      script: 'models: { any: { turns: [{ text: hello }] } }',
      settings: {
        default_model: 'scripted/any',
        agents: {
          echo: { command: ['{node}', join(home, 'echo.cjs')] },
          mute: sh('sleep 600'),
          garbage: sh('while :; do echo "not json at all"; sleep 0.05; done'),
          leaves: sh('exit 0'),
          crashes: sh('echo "a reason on stderr" >&2; exit 3'),
          floods: sh('yes 0123456789012345678901234567890123456789'),
          missing: { command: ['/no/such/program'] },
          forger: sh(
            `printf '%s\\n' '{"v":1,"attempt":"x","seq":99,"ts":"2026-01-01T00:00:00.000Z","type":"eof","data":{"lastSeq":99}}' 'event: run_complete'; sleep 600`,
          ),
        },
      },
    });
    const short = { start_timeout_seconds: 2, silence_seconds: 2, timeout_seconds: 20, max_output_bytes: 262_144 };
    const agents = ['echo', 'mute', 'garbage', 'leaves', 'crashes', 'floods', 'missing', 'forger'];
    const runId = await house.submit({
      repository: sourceRepository(),
      prompt: 'Do it.',
      variations: agents.map((agent) => ({ agent, limits: short })),
    });
    const run = await house.over(runId);
    expect(Object.fromEntries(run.variations.map((each) => [each.agent, each.end_reason]))).toEqual({
      echo: 'end_turn',
      mute: 'silent',
      garbage: expect.stringMatching(/^(silent|protocol_error)$/),
      leaves: 'agent_exit',
      crashes: 'agent_exit',
      floods: expect.stringMatching(/^(output_limit|protocol_error)$/),
      missing: 'agent_missing',
      forger: expect.stringMatching(/^(silent|protocol_error)$/),
    });
    expect(run.summary).toBe('1 of 8 variations succeeded');
    for (const each of run.variations) {
      expect(each.attempts[0]?.log_complete, each.agent).toBe(true);
      if (each.agent !== 'echo') expect(each.message?.length, each.agent).toBeGreaterThan(5);
    }
    expect(run.variations[4]?.message).toContain('a reason on stderr');
    const { body } = await house.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?variation_id=7&limit=500`);
    expect(body.events.filter((event) => event.type === 'run_complete')).toHaveLength(1);
    expect(
      body.events.some(
        (event) => event.data['kind'] === 'unparsed' && String(event.data['content']).includes('"type":"eof"'),
      ),
    ).toBe(true);
  }, 90_000);
});

describe('a house that cannot start', () => {
  async function refusal(flags: Record<string, unknown>): Promise<AppError> {
    const home = tempDir();
    const { config } = loadConfig({
      env: testEnv(home),
      cwd: home,
      flags: { port: 0, log_level: 'silent', data_dir: join(home, 'data'), ...flags },
    });
    try {
      await (await startHouse(config, { version: '0' })).close();
    } catch (error) {
      if (error instanceof AppError) return error;
      throw error;
    }
    throw new Error('it started');
  }

  it('says by which server its data directory is locked, and leaves that one alone', async () => {
    const house = await startTestHouse();
    const error = await refusal({ data_dir: house.dataDir });
    expect(error.code).toBe('data_dir_locked');
    expect(error.message).toContain(`${house.url}, process ${process.pid}`);
    expect((await house.api('GET', '/readyz')).status).toBe(200);
  });

  it('names a port that is in use', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const address = other.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const error = await refusal({ port });
    expect([error.code, error.message.includes(String(port))]).toEqual(['port_in_use', true]);
    other.close();
  });

  it('names a data directory that cannot be made', async () => {
    const file = join(tempDir(), 'file');
    writeFileSync(file, '');
    expect((await refusal({ data_dir: join(file, 'data') })).code).toBe('data_dir_readonly');
    expect((await refusal({ data_dir: '/proc/aideator' })).code).toBe('data_dir_readonly');
  });

  it('leaves a database alone that is damaged or newer', async () => {
    const dataDir = tempDir();
    writeFileSync(join(dataDir, 'aideator.sqlite'), 'this is not a database, but it is somebody’s');
    expect((await refusal({ data_dir: dataDir })).code).toBe('database_corrupt');
    const newer = tempDir();
    mkdirSync(newer, { recursive: true });
    const database = new DatabaseSync(join(newer, 'aideator.sqlite'));
    database.exec('CREATE TABLE runs (no INTEGER); PRAGMA user_version = 9999');
    database.close();
    const error = await refusal({ data_dir: newer });
    expect(error.code).toBe('database_newer');
    expect(error.message).toContain('9999');
  });

  it('names file and field of a price table that is broken, before a call could be priced with it', async () => {
    const prices = join(tempDir(), 'prices.json');
    writeFileSync(prices, '{"unit": "micro-dollars per million tokens", "models": {"p/m": {"input": "3 dollars"}}}');
    const error = await refusal({ prices });
    expect(error.code).toBe('invalid_config');
    expect(error.message).toContain(`${prices}: models > p/m > input`);
  });

  it('refuses to listen beyond this machine without a key', async () => {
    const error = await refusal({ host: '0.0.0.0' });
    expect([error.code, error.hint?.includes('keys create')]).toEqual(['exposed_without_key', true]);
  });

  it('says which git it needs where git is missing', async () => {
    const home = tempDir();
    const { config } = loadConfig({
      env: { HOME: home, PATH: join(home, 'nothing') },
      cwd: home,
      flags: { port: 0, log_level: 'silent', data_dir: join(home, 'data') },
    });
    await expect(startHouse(config, { version: '0' })).rejects.toMatchObject({ code: 'tool_missing' });
  });
});
