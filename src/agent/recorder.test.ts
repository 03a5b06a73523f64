import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { plainGit } from '../../test/support/repository.ts';
import { prepareAttempt } from '../../test/support/recorded.ts';
import { until } from '../../test/support/until.ts';
import { findStragglers, startTimeOf } from './process-identity.ts';

const quick = { cancelMs: 2000, terminateMs: 300, leaveMs: 2000, diskMs: 50, heartbeatMs: 20 };

describe('an attempt that goes well', () => {
  test('its messages are recorded verbatim, its work is the result, its last word fits', async () => {
    const attempt = prepareAttempt({
      agent: ['write', 'new.txt=hello', 'README.md=changed'],
      prompt: 'do “it”\n{now}\u0000 $(rm -rf /) é',
    });
    const { eof, events, of, result, said, notes } = await attempt.run({ graces: quick });
    expect(eof).toMatchObject({ reason: 'end_turn', message: null, exit: { code: 0, signal: null } });
    expect(eof.timings.workspace_ms).toBeGreaterThan(0);
    expect(eof.timings.first_message_ms).toBeGreaterThanOrEqual(eof.timings.workspace_ms ?? 0);
    expect(eof.timings.total_ms).toBeGreaterThanOrEqual(eof.timings.first_message_ms ?? 0);
    expect(said).toEqual(['written']);
    expect(notes).toEqual(['recorder_started']);
    expect(result?.files.map(({ path, status }) => [path, status])).toEqual([
      ['README.md', 'modified'],
      ['new.txt', 'added'],
    ]);
    expect(readFileSync(join(attempt.directory, 'result.patch'), 'utf8')).toContain('+hello');
    const sent = of<{ method?: string; params?: { prompt?: { text: string }[] } }>('acp_sent');
    expect(sent.map(({ method }) => method)).toEqual(['initialize', 'session/new', 'session/prompt']);
    expect(sent.at(-1)?.params?.prompt).toEqual([{ type: 'text', text: attempt.spec.prompt }]);
    expect(events.at(-1)?.type).toBe('eof');
    expect(plainGit(join(attempt.directory, 'workspace'), ['branch', '--show-current'])).toBe('aideator/testrun123/0');
  });

  test('nothing changed is an end of its own', async () => {
    const { eof, result } = await prepareAttempt({ agent: ['nothing'] }).run({ graces: quick });
    expect(eof).toMatchObject({
      reason: 'no_changes',
      message: 'The agent said it was done, and nothing was changed.',
    });
    expect(result?.files).toEqual([]);
  });

  test('the mode is set where one is asked for', async () => {
    const { said } = await prepareAttempt({ mode: 'yolo' }).run({ graces: quick });
    expect(said).toEqual(['mode yolo', 'thought 0', 'do it']);
  });

  test('the environment is an allow-list: no key, own HOME and TMPDIR, words replaced', async () => {
    const attempt = prepareAttempt({
      agent: ['nothing'],
      env: { BASE: '{base_url}/v1', M: '{model}', D: '{dialect}', N: '{max_steps}', H: '{home}', X: '{unknown}' },
    });
    const env = {
      ...process.env,
      ANTHROPIC_API_KEY: 'canary',
      AIDEATOR_API_KEY: 'canary',
      SECRET: 'canary',
      LC_TIME: 'C',
      TZ: 'UTC',
      NODE_OPTIONS: '--no-warnings',
    };
    const { of, events } = await attempt.run({ graces: quick, env });
    const [{ text = '' } = {}] = of<{ text?: string }>('stderr');
    const seen = JSON.parse(text) as { cwd: string; env: Record<string, string> };
    const home = join(attempt.directory, 'home');
    expect(seen.cwd).toBe(join(attempt.directory, 'workspace'));
    expect(seen.env).toMatchObject({
      HOME: home,
      TMPDIR: join(attempt.directory, 'tmp'),
      TERM: 'dumb',
      LC_TIME: 'C',
      TZ: 'UTC',
      M: 'model-1',
      D: 'anthropic',
      N: '100',
      H: home,
      X: '{unknown}',
    });
    expect(seen.env['BASE']).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1$/);
    expect(
      Object.keys(seen.env).filter(
        (name) =>
          !/^(PATH|LANG|LANGUAGE|LC_\w+|TZ|TERM|HOME|TMPDIR|XDG_\w+|AIDEATOR_ATTEMPT|BASE|M|D|N|H|X)$/.test(name),
      ),
    ).toEqual([]);
    expect(JSON.stringify(events)).not.toContain('canary');
    expect(JSON.stringify(events)).not.toContain('token-of-the-attempt');
  });

  test('permission is given, what we do not offer is refused, both are recorded', async () => {
    const { said, of } = await prepareAttempt({ agent: ['permission'] }).run({ graces: quick });
    expect(JSON.parse(said[0]!)).toEqual({ outcome: { outcome: 'selected', optionId: 'yes' } });
    expect(JSON.parse(said[1]!)).toMatchObject({ id: 'q2', error: { code: -32_601 } });
    expect(of<{ id?: unknown }>('acp_sent').map(({ id }) => id)).toEqual(expect.arrayContaining(['q1', 'q2']));
  });

  test('permission is not given for what lies outside, and every decision says why', async () => {
    const options = [
      { optionId: 'yes', name: 'Yes', kind: 'allow_always' },
      { optionId: 'no', name: 'No', kind: 'reject_once' },
    ];
    const about = (toolCall: object) => ({ sessionId: 's', toolCall: { toolCallId: 't', ...toolCall }, options });
    const asked = [
      about({ locations: [{ path: '{cwd}/new.txt' }] }),
      about({ locations: [{ path: '/etc/passwd' }] }),
      about({ rawInput: { file_path: '../../../elsewhere' } }),
      about({ content: [{ type: 'diff', path: '{cwd}/link/x', newText: '' }] }),
      { ...about({}), options: [] },
      { sessionId: 's', toolCall: 7, options: 'none' },
    ];
    const { said, of, eof } = await prepareAttempt({
      agent: ['ask', JSON.stringify(asked)],
      files: { link: '/etc' },
    }).run({
      graces: quick,
    });
    const chosen = said.map(
      (each) => JSON.parse(each) as { outcome?: { optionId?: string }; error?: { code: number } },
    );
    expect(chosen.map(({ outcome, error }) => outcome?.optionId ?? outcome ?? error?.code)).toEqual([
      'yes',
      'no',
      'no',
      'yes',
      { outcome: 'cancelled' },
      -32_602,
    ]);
    const notes = of<{ code: string; message: string }>('note').filter(({ code }) => code === 'permission');
    expect(notes.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^A permission was allowed\. All paths/),
      expect.stringMatching(/^A permission was rejected\. It names \/etc\/passwd: outside/),
      expect.stringMatching(/^A permission was rejected\. It names \.\.\/\.\.\/\.\.\/elsewhere/),
      expect.stringMatching(/^A permission was allowed/),
      expect.stringMatching(/^A permission was cancelled\. It offers no option that allows it/),
    ]);
    expect(eof.reason).toBe('no_changes');
  });

  test('thousands of requests for permission are all answered, and fill the log with answers, not with notes', async () => {
    const asked = [{ sessionId: 's', toolCall: { toolCallId: 't' }, options: [] }];
    const { notes, of, eof } = await prepareAttempt({ agent: ['ask', JSON.stringify(asked), '3000'] }).run({
      graces: quick,
    });
    expect(eof.reason).toBe('no_changes');
    expect(of<{ result?: unknown }>('acp_sent').filter(({ result }) => result !== undefined)).toHaveLength(3000);
    expect(notes.filter((code) => code === 'permission')).toHaveLength(1002);
    expect(notes.filter((code) => code === 'permission_notes_end')).toHaveLength(1);
  });

  test('answers that nobody asked for are recorded, and change nothing', async () => {
    const { of, eof } = await prepareAttempt({ agent: ['confuse'] }).run({ graces: quick });
    expect(eof.reason).toBe('no_changes');
    expect(of<{ id?: unknown }>('acp').map(({ id }) => id)).toEqual(expect.arrayContaining(['nobody', 77]));
  });

  test('heartbeats are written meanwhile, without a number', async () => {
    const attempt = prepareAttempt({ agent: ['nothing'] });
    await attempt.run({ graces: { ...quick, heartbeatMs: 5 } });
    expect(readFileSync(join(attempt.directory, 'journal.ndjson'), 'utf8')).toContain('"type":"hb"');
  });
});

describe('what an agent prints', () => {
  test('is data: look-alikes, controls, broken UTF-8 and long lines forge nothing', async () => {
    const { events, of, eof } = await prepareAttempt({ agent: ['forge', '30000'], prompt: '\u0007bell' }).run({
      graces: quick,
    });
    expect(eof.reason).toBe('no_changes');
    expect(events.filter(({ type }) => type === 'eof').length).toBe(1);
    const unparsed = of<{ text?: string; base64?: string }>('unparsed');
    expect(unparsed[0]?.text).toContain('"type":"eof"');
    expect(unparsed.slice(1)).toEqual([
      { text: '\u0000\u001b[31mred\u001b[0m\u2028line' },
      { base64: 'wyg=' },
      { text: '[{"jsonrpc":"2.0","method":"x"}]' },
      { text: '{"jsonrpc":"2.0"}' },
      { text: '{"jsonrpc":"1.0","method":"x"}' },
    ]);
    const acp = events.filter(({ type }) => type === 'acp');
    expect(acp.map(({ data }) => data)).toContain(
      '{"jsonrpc":"2.0", "method":"session/update","params":{"spaced" : [1.0, 1e3]}}',
    );
    const long = acp.find(({ span }) => span > 1);
    expect(long?.data).toBe(`{"jsonrpc":"2.0","method":"session/update","params":{"long":"${'l'.repeat(30_000)}"}}`);
  });

  test('stderr comes in chunks of whole lines; what is too long is cut with a mark', async () => {
    const { of } = await prepareAttempt({ agent: ['stderr'] }).run({ graces: quick });
    const cut = of<{ code: string; stream?: string; kept_bytes?: number; dropped_bytes?: number; text?: string }>(
      'note',
    ).find(({ code }) => code === 'line_cut');
    expect(cut).toMatchObject({ stream: 'stderr', kept_bytes: 16_383, dropped_bytes: 40_000 - 16_383 });
    expect(cut?.text).toBe('e'.repeat(16_383));
    const chunks = of<{ text?: string; base64?: string }>('stderr').slice(1);
    expect(
      chunks.map((each) => each.text ?? Buffer.from(each.base64 ?? '', 'base64').toString('latin1')).join(''),
    ).toBe('short\n\u00ff\u00fe\n');
  });

  test('its end is known where the process ends with children that hold its pipes', async () => {
    const attempt = prepareAttempt({ agent: ['escape', 'exit'] });
    const { eof, notes, said, of } = await attempt.run({ graces: quick });
    expect(eof).toMatchObject({ reason: 'agent_exit', exit: { code: 3, signal: null } });
    expect(notes).toEqual(['recorder_started', 'stragglers_killed', 'agent_exit']);
    expect(of<{ code: string; count?: number }>('note')[1]).toMatchObject({ count: 1 });
    expect(findStragglers(attempt.spec.attempt_id)).toEqual([]);
    expect(said.length).toBe(1);
  });

  test('children in a session of their own do not outlive the attempt', async () => {
    const attempt = prepareAttempt({ agent: ['escape'] });
    const { eof, notes, said } = await attempt.run({ graces: { ...quick, leaveMs: 50 } });
    expect(eof.reason).toBe('no_changes');
    expect(notes).toContain('stragglers_killed');
    expect(startTimeOf(Number(said[0]?.slice(6)))).toBeNull();
  });
});

describe('ends that are not well', () => {
  test.each([
    [
      ['exit', '7'],
      { reason: 'agent_exit', exit: { code: 7, signal: null } },
      /^The agent ended during its turn, with exit code 7. It said: .*going down$/s,
    ],
    [['die'], { reason: 'agent_exit', exit: { code: null, signal: 'SIGSEGV' } }, /signal SIGSEGV/],
    [['version'], { reason: 'protocol_error' }, /ACP version 9/],
    [['login'], { reason: 'provider_auth' }, /^initialize: Authentication required$/],
    [
      ['error', '{"code":-32603,"message":"Internal error","data":{"kind":"provider_error","message":"it broke"}}'],
      { reason: 'provider_error' },
      /^Internal error: it broke$/,
    ],
    [['stop', 'max_turn_requests'], { reason: 'max_turns' }, /step limit/],
  ])('%j', async (agent, expected, message) => {
    const { eof, result } = await prepareAttempt({ agent }).run({ graces: quick });
    expect(eof).toMatchObject(expected);
    expect(eof.message).toMatch(message);
    // Whatever happened, what was left is taken.
    expect(result?.files).toEqual([]);
  });

  test.each([
    ['no-such-program', /was not found on PATH/],
    ['/no/such/program', /does not exist/],
    ['/etc/passwd', /may not be executed/],
  ])('a program that cannot be started: %s', async (program, message) => {
    const { eof, notes } = await prepareAttempt({ command: [program] }).run({ graces: quick });
    expect(eof.reason).toBe('agent_missing');
    expect(eof.message).toMatch(message);
    expect(notes).toEqual(['recorder_started', 'agent_missing']);
  });

  test('a workspace that cannot be made', async () => {
    const attempt = prepareAttempt();
    rmSync(attempt.spec.repository.source, { recursive: true });
    const { eof, notes, result } = await attempt.run({ graces: quick });
    expect(eof.reason).toBe('setup_failed');
    expect(eof.message).toMatch(/^The workspace could not be made: /);
    expect(notes).toEqual(['recorder_started', 'setup_failed']);
    expect(result).toBeNull();
  });

  test('a result that cannot be taken', async () => {
    const { eof, notes } = await prepareAttempt({ agent: ['remove-workspace'] }).run({ graces: quick });
    expect(eof.reason).toBe('result_failed');
    expect(eof.message).toMatch(/^The result could not be taken: /);
    expect(notes).toContain('result_failed');
  });

  test('a recorder that breaks says so, and leaves nothing running', async () => {
    const attempt = prepareAttempt({ agent: ['linger'] });
    const crash = new AbortController();
    const run = attempt.run({ graces: quick, crashed: crash.signal });
    await until(() => existsSync(join(attempt.directory, 'workspace', 'half.txt')));
    crash.abort(new Error('a fault of ours'));
    const { eof, notes } = await run;
    expect(eof).toMatchObject({ reason: 'lost', message: 'The recorder itself failed: a fault of ours' });
    expect(notes).toContain('recorder_crashed');
    expect(findStragglers(attempt.spec.attempt_id)).toEqual([]);
  });
});

describe('limits', () => {
  test.each([
    [
      'prints no ACP',
      ['garbage'],
      { start_timeout_seconds: 4 },
      'protocol_error',
      /lines, none of them an ACP message/,
    ],
    ['takes too long', ['linger'], { timeout_seconds: 2 }, 'timeout', /longer than 2 s/],
    [
      'prints too much',
      ['flood', '3000000'],
      { max_output_bytes: 1_000_000 },
      'output_limit',
      /more than 1000000 bytes/,
    ],
    ['fills the disk', ['disk'], { max_disk_bytes: 3_000_000 }, 'disk_limit', /3000000 are allowed/],
  ])('%s', async (_, agent, limits, reason, message) => {
    const { eof, notes, events, result } = await prepareAttempt({ agent, limits }).run({
      graces: { ...quick, cancelMs: 200 },
    });
    expect(eof.reason).toBe(reason);
    expect(eof.message).toMatch(message);
    expect(notes).toContain('limit_reached');
    expect(result).not.toBeNull();
    if (reason === 'output_limit') {
      expect(notes).toContain('output_dropped');
      expect(events.reduce((sum, { data }) => sum + data.length, 0)).toBeLessThan(1_300_000);
    }
  });
});

describe('stopping', () => {
  test('what was said and done until then is kept; the agent answers the cancel', async () => {
    const attempt = prepareAttempt({ agent: ['linger'] });
    const stop = new AbortController();
    const run = attempt.run({ graces: quick, signal: stop.signal });
    await until(() => existsSync(join(attempt.directory, 'workspace', 'half.txt')));
    stop.abort('superseded');
    const { eof, said, notes, result } = await run;
    expect(eof).toMatchObject({ reason: 'superseded', message: null });
    expect(said).toEqual(['waiting', 'cancelled, as asked']);
    expect(notes).toEqual(['recorder_started', 'stopping']);
    expect(result?.files.map(({ path }) => path)).toEqual(['half.txt']);
  });

  test('an agent that ignores cancel and SIGTERM is killed', async () => {
    const attempt = prepareAttempt({ agent: ['stubborn'] });
    const stop = new AbortController();
    const run = attempt.run({ graces: { ...quick, cancelMs: 100 }, signal: stop.signal });
    await until(() => readFileSync(join(attempt.directory, 'journal.ndjson'), 'utf8').includes('staying'));
    stop.abort('cancelled');
    const { eof, of } = await run;
    expect(eof.reason).toBe('cancelled');
    expect(of<{ text?: string }>('stderr').some(({ text }) => text?.includes('SIGTERM: no'))).toBe(true);
    expect(findStragglers(attempt.spec.attempt_id)).toEqual([]);
  });

  test('before the agent was started there is no workspace, no result', async () => {
    const { eof, notes, result } = await prepareAttempt().run({
      graces: quick,
      signal: AbortSignal.abort('cancelled'),
    });
    expect(eof.reason).toBe('cancelled');
    expect(notes).toEqual(['recorder_started', 'cancelled']);
    expect(result).toBeNull();
  });
});
