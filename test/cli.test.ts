import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Run } from '../src/contract/api.ts';
import { newPerson, submit } from './support/cli.ts';
import { gitAs, sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

/** The CLI as people use it, against the server that it starts by itself. */

const runIdIn = (text: string): string => /\b[a-z][a-z0-9]{9}\b/.exec(text)?.[0] ?? '';

describe('the main job, typed', () => {
  test('run, list, show, logs, compare, choose, ship, rm', async () => {
    const person = newPerson();
    const repository = sourceRepository({ 'value.txt': 'old\n' });
    writeFileSync(join(repository, 'loose.txt'), 'not committed\n');
    const mix = [
      '--variation',
      'agent=writer',
      '--variation',
      'agent=tester,strategy=test-first',
      '--variation',
      'agent=quitter',
    ];
    const ran = await person.start(['run', '--prompt', 'Set the value.', ...mix], { cwd: repository }).done;
    expect(ran.code).toBe(0);
    const id = runIdIn(ran.out);
    expect(ran.out).toContain(
      `Run ${id}: 3 variations from commit ${gitAs(repository, 'rev-parse', 'HEAD').slice(0, 12)}.`,
    );
    expect(ran.out.replaceAll(/\s+/g, ' ')).toContain('rights of the user');
    expect(ran.out).toMatch(/\d\d:\d\d:\d\d \[0 writer\] says: written/);
    expect(ran.out).toMatch(/\[2 quitter\] failed \(agent_exit\): .*7/);
    expect(ran.out).toContain(`Run ${id} completed: 2 of 3 variations succeeded.`);
    expect(ran.out).toMatch(/^2 no strategy {2}agent exit/m);
    expect(ran.out).toContain(`aideator choose ${id} 0 --reason "…"`);
    expect(ran.err).toContain('1 uncommitted change in the repository is not part of the run');

    const listed = await person.run('list');
    expect(listed.out.split('\n')).toHaveLength(3);
    expect(listed.out).toMatch(new RegExp(`^${id} .* completed +2/3 +- +${basename(repository)} +Set the valu…`, 'm'));
    expect(JSON.parse((await person.run('list', '--json', '--status', 'completed')).out)).toMatchObject({
      runs: [{ run_id: id }],
      next_cursor: null,
    });
    expect((await person.run('list', '--status', 'failed')).out).toBe('No run is failed.\n');

    const shown = await person.run('show', id.slice(0, 6));
    expect(shown.out).toContain('status       completed: 2 of 3 variations succeeded');
    expect(shown.out).toMatch(/attempt 0 {2}failed \(agent_exit\); \d+ lines; log complete/);
    expect(shown.out.match(/isolation/g)).toHaveLength(1);

    const logs = await person.run('logs', 'last', '-v', '0');
    expect(logs.out).toContain('[0 writer] says: written');
    expect(logs.out).not.toContain('[1 ');
    const events = (await person.run('logs', 'last', '--json')).out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: number; type: string });
    expect(events.at(-1)?.type).toBe('run_complete');
    const streamed = await person.run('watch', 'last', '--json', '--stream');
    expect(streamed.code).toBe(0);
    expect(
      streamed.out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual(events);

    const diff = await person.run('compare', id, '0', '1');
    expect(diff.out).toContain('+tested');
    expect(JSON.parse((await person.run('compare', id, '0', '1', '--json')).out)).toMatchObject({
      a: 0,
      b: 1,
      diff: diff.out,
    });
    expect(JSON.parse((await person.run('compare', id, '--json')).out)).toMatchObject({ run_id: id, choice: null });

    expect((await person.run('ship', id)).code).toBe(4);
    const chosen = await person.run('choose', id, '1', '--reason', 'It is tested.');
    expect(chosen.out).toContain(`Variation 1 of run ${id} is chosen.`);
    const other = await person.run('choose', id, '0', '--json');
    expect(other.code).toBe(4);
    expect(JSON.parse(other.out)).toMatchObject({ code: 'already_chosen', status: 409 });

    const shipped = await person.run('ship', id);
    expect(shipped.out).toContain(`Variation 1 is branch aideator/${id}-1 of ${repository}`);
    expect(gitAs(repository, 'show', `aideator/${id}-1:value.txt`)).toBe('tested');
    expect(readFileSync(join(repository, 'value.txt'), 'utf8')).toBe('old\n');
    const patch = person.start(['ship', id, '--patch', '-', '--variation', '0']);
    expect((await patch.done).code).toBe(0);
    writeFileSync(join(person.home, 'a.patch'), patch.bytes());
    gitAs(repository, 'apply', '--check', join(person.home, 'a.patch'));
    expect((await person.run('ship', id, '--patch', 'b.patch')).out).toContain('The patch of variation 1 is');
    expect(readFileSync(join(person.home, 'b.patch'), 'utf8')).toContain('+tested');
    expect((await person.run('ship', id, '--patch', 'no/such/folder')).code).toBe(2);
    expect((await person.run('ship', id, '--apply')).out).toContain('was applied to the work tree');
    expect(readFileSync(join(repository, 'value.txt'), 'utf8')).toBe('tested\n');
    expect((await person.run('compare', id)).out).toMatch(
      /^1 test-first +chosen[^]*^chosen: 1: It is tested\.\nshipped: branch/m,
    );

    expect((await person.run('rm', id)).out).toBe(`Run ${id} is forgotten.\n`);
    expect((await person.run('show', id)).code).toBe(3);
    expect((await person.run('list')).out).toContain('No run yet.');
  });

  test('a run of which nothing succeeds ends with 10, and --json prints the run', async () => {
    const person = newPerson();
    const { code, out } = await person.run(
      'run',
      '--repo',
      sourceRepository(),
      '--prompt',
      'x',
      '-n',
      '1',
      '--agent',
      'quitter',
      '--json',
    );
    expect(code).toBe(10);
    expect(JSON.parse(out) as Run).toMatchObject({
      status: 'failed',
      variations: [{ agent: 'quitter', end_reason: 'agent_exit' }],
    });
    const again = await person.run('retry', 'last', '0');
    expect(again.out).toContain('is tried again');
    expect((await person.run('watch', 'last', '--json')).code).toBe(10);
    expect((await person.run('retry', 'last', '9')).code).toBe(3);
  });
});

describe('Ctrl-C', () => {
  test('once leaves the run running and says how to come back; cancel ends it', async () => {
    const person = newPerson();
    const id = await submit(person, sourceRepository(), '-n', '2', '--agent', 'lingerer');
    const watching = person.start(['watch', id], { terminal: { columns: 80, rows: 24 } });
    await until(() => watching.out.includes('thinks: waiting'));
    expect(watching.out).toContain('\u001b[?25l');
    watching.signal('interrupt');
    const left = await watching.done;
    expect(left.code).toBe(130);
    expect(left.out).toContain(`Leaving run ${id}; it goes on. Come back with: aideator watch ${id}`);
    expect(left.out.lastIndexOf('\u001b[?25h')).toBeGreaterThan(left.out.lastIndexOf('\u001b[?25l'));

    expect((await person.run('cancel', id, '0')).out).toMatch(
      /Variation 0 of run \w+ is (being cancelled|over \(cancelled\))/,
    );
    expect((await person.run('cancel', id)).out).toContain(`Run ${id} is being cancelled`);
    expect((await person.run('watch', id)).code).toBe(10);
    expect((await person.run('cancel', id)).out).toBe(`Run ${id} is over (cancelled).\n`);
  });

  test('twice cancels', async () => {
    const person = newPerson();
    const id = await submit(person, sourceRepository(), '-n', '1', '--agent', 'lingerer');
    const watching = person.start(['watch', id]);
    await until(() => watching.out.includes('thinking: waiting'));
    watching.signal('interrupt');
    watching.signal('interrupt');
    const { code, err } = await watching.done;
    expect(code).toBe(130);
    expect(err).toContain(`Run ${id} is being cancelled; what was said and done until now is kept.`);
    const followed = await person.run('logs', id, '--follow');
    expect(followed.code).toBe(0);
    expect(followed.out).toMatch(/\[0 lingerer\] (says: cancelled, as asked|cancelled)/);
  });
});

describe('while a run goes on', () => {
  test('one is chosen and the rest cancelled; a run is removed', async () => {
    const person = newPerson();
    const repository = sourceRepository();
    const prompt = Array.from({ length: 12 }, (_, at) => `line ${at}`).join('\n');
    const mix = ['--variation', 'agent=writer', '--variation', 'agent=lingerer'];
    const { out } = await person.run('run', '--repo', repository, '--prompt', prompt, ...mix, '--detach');
    const id = runIdIn(out.replace('Run ', ''));
    await until(async () => (await person.run('show', id)).out.includes('outcome    succeeded'));
    expect((await person.run('show', id)).out).toContain('  line 7\n  (4 more lines; --json has all)');
    expect((await person.run('choose', id, '0')).out).toContain('The others go on; --cancel-rest stops them.');
    expect((await person.run('choose', id, '0', '--cancel-rest')).out).toContain('What still runs is being cancelled.');
    const { code, out: watched } = await person.run('watch', id, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(watched)).toMatchObject({
      variations: [{ status: 'succeeded' }, { status: 'cancelled', end_reason: 'superseded' }],
    });
    expect(JSON.parse((await person.run('cancel', id, '--json')).out)).toMatchObject({ run_id: id });

    const other = await submit(person, repository, '-n', '1', '--agent', 'lingerer');
    expect(JSON.parse((await person.run('rm', other, '--json')).out)).toEqual({ run_id: other, forgotten: true });
    expect((await person.run('watch', other)).err).toContain('code: run_not_found');
  });

  test('a diff in a terminal is coloured, and drives nothing', async () => {
    const evil = (text: string): { command: string[] } => ({
      command: ['{node}', join(import.meta.dirname, 'support', 'acp-agent.ts'), 'write', `value.txt=${text}`],
    });
    const person = newPerson({
      settings: { agents: { a: evil('one\n'), b: evil('two\u001b[2J\n'), same: evil('one\n') } },
    });
    const mix = ['a', 'b', 'same'].flatMap((name) => ['--variation', `agent=${name}`]);
    expect((await person.run('run', '--repo', sourceRepository(), '--prompt', 'x', ...mix, '--json')).code).toBe(0);
    const terminal = { columns: 80, rows: 24 };
    const diff = await person.start(['compare', 'last', '0', '1'], { terminal }).done;
    expect(diff.out).toContain('\u001b[31m-one\u001b[39m\n\u001b[32m+two\u001b[39m');
    expect(diff.out).not.toContain('\u001b[2J');
    expect((await person.start(['compare', 'last', '0', '2'], { terminal }).done).out).toBe(
      '0 and 2 are the same to the byte.\n',
    );
  });
});

describe('serve, keys, config, doctor', () => {
  test('serve answers until it is told to end; --url and keys', async () => {
    const person = newPerson();
    const server = person.start(['serve', '--port', '0']);
    await until(() => server.out.includes('http://'));
    const url = /http:\/\/[\d.:]+/.exec(server.out)?.[0] ?? '';
    const made = await person.run('keys', 'create', 'laptop', '--scope', 'read', '--url', url);
    expect(made.code).toBe(0);
    const key = made.out.trim();
    expect(key).toMatch(/^aid_/);
    expect(made.err).toContain('shown once');
    const refused = await person.start(['keys', 'create', '--url', url], { env: { AIDEATOR_API_KEY: key } }).done;
    expect(refused).toMatchObject({ code: 3, err: expect.stringContaining('code: forbidden') as string });
    const [id = ''] = /(?<=aid_)[a-z0-9]+/.exec(key) ?? [];
    expect((await person.run('keys', 'list')).out).toMatch(new RegExp(`^${id} +laptop +read +\\d`, 'm'));
    expect(JSON.parse((await person.run('keys', 'list', '--json')).out)).toMatchObject({
      keys: [{ id, name: 'laptop', scope: 'read' }],
    });
    expect((await person.run('keys', 'revoke', id)).out).toBe(`Key ${id} is revoked.\n`);
    expect((await person.run('keys', 'list')).out).toContain('No keys.');
    expect(JSON.parse((await person.run('doctor', '--json')).out)).toMatchObject({
      checks: expect.arrayContaining([
        expect.objectContaining({ name: 'server', state: 'ok', text: `${url} runs (process ${process.pid})` }),
      ]) as unknown,
    });
    server.signal('interrupt');
    expect(await server.done).toMatchObject({ code: 0, err: 'Ending …\n' });
  });

  test('serve takes over from a server in the background, and runs go on', async () => {
    const person = newPerson();
    const id = await submit(person, sourceRepository(), '-n', '1', '--agent', 'lingerer');
    const watching = person.start(['watch', id, '--json', '--stream']);
    await until(() => watching.out.includes('waiting'));
    const server = person.start(['serve', '--port', '0']);
    await until(() => server.out.includes('http://'));
    expect(server.err).toMatch(/^Taking over from the server in the background \(process \d+\)\.$/m);
    await until(() => watching.err.includes('Connected again.'));
    expect((await person.run('serve', '--port', '0')).err).toContain('code: data_dir_locked');
    await person.run('cancel', id);
    expect((await watching.done).code).toBe(10);
    server.signal('terminate');
    expect((await server.done).code).toBe(0);
  });

  test('beyond this machine it wants a key, and the command it names makes one', async () => {
    const person = newPerson();
    const refused = await person.run('serve', '--host', '0.0.0.0', '--port', '0', '--json');
    const problem = JSON.parse(refused.out) as { code: string; hint: string };
    expect([refused.code, problem.code]).toEqual([5, 'exposed_without_key']);
    const [, command = ''] = /`aideator ([^`]+)`/.exec(problem.hint) ?? [];
    expect(await person.run(...command.split(' '))).toMatchObject({ code: 0 });
    const server = person.start(['serve', '--host', '0.0.0.0', '--port', '0']);
    await until(() => server.out.includes('http://'));
    server.signal('terminate');
    expect((await server.done).code).toBe(0);
  });

  test('a server that nobody uses ends', async () => {
    const person = newPerson();
    const { code, out, err } = await person.run('serve', '--port', '0', '--exit-when-idle', '1', '--json');
    expect(JSON.parse(out)).toMatchObject({ pid: process.pid, data_dir: person.dataDir });
    expect([code, err]).toEqual([0, 'Nothing to do for 1 s: ending.\n']);
  });

  test('a port that is taken', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => {
      other.listen(0, '127.0.0.1', resolve);
    });
    onTestFinished(() => void other.close());
    const person = newPerson({ env: { AIDEATOR_PORT: String((other.address() as AddressInfo).port) } });
    expect(await person.run('serve')).toMatchObject({
      code: 5,
      err: expect.stringContaining('code: port_in_use') as string,
    });
    expect((await person.run('doctor')).out).toMatch(/^warn {2}port +\d+ is used by another program/m);
  });

  test('config says where each value is from, and shows no secret', async () => {
    const person = newPerson({
      env: {
        AIDEATOR_API_KEY: 'aid_abcdefghij_secretsecretsecret99',
        ANTHROPIC_API_KEY: 'sk-hidden',
        AIDEATOR_LIMITS_MAX_STEPS: '7',
      },
    });
    const { out } = await person.run('config', '--url', 'http://127.0.0.1:1');
    expect(out).toMatch(/^url +http:\/\/127\.0\.0\.1:1 {2}\(flag\)$/m);
    expect(out).toMatch(/^api_key +set \(…et99\) {2}\(environment AIDEATOR_API_KEY\)$/m);
    expect(out).toMatch(/^keys\.anthropic +set {2}\(environment ANTHROPIC_API_KEY\)$/m);
    expect(out).toMatch(/^limits\.max_steps +7 {2}\(environment/m);
    expect(out).toMatch(/^limits\.timeout_seconds +1800 {2}\(default\)$/m);
    expect(out).not.toContain('secretsecret');
    const { out: json } = await person.run('config', '--json');
    expect(JSON.parse(json)).toMatchObject({
      default_agent: { value: 'writer', from: expect.stringContaining('config.yaml') as string },
    });
    expect(json).not.toMatch(/sk-hidden|secretsecret/);
  });

  test('where no sandbox works, doctor and run say what to do, and --no-sandbox goes without', async () => {
    const bin = tempDir();
    for (const program of ['git', 'sh'])
      symlinkSync(execFileSync('which', [program], { encoding: 'utf8' }).trim(), join(bin, program));
    const person = newPerson({ settings: { sandbox: { mode: 'auto' } }, env: { PATH: bin } });
    const { code, out } = await person.run('doctor');
    expect(code).toBe(5);
    expect(out).toMatch(/^fail {2}sandbox +bubblewrap \(bwrap\) is not on the PATH\.\n +Runs are refused\./m);
    const repository = sourceRepository({ 'value.txt': 'old\n' });
    const run = ['run', '--repo', repository, '--prompt', 'Set the value.', '-n', '1'];
    const refused = await person.run(...run);
    expect(refused.code).toBe(5);
    expect(refused.err).toMatch(/apt install bubblewrap[\s\S]*--no-sandbox[\s\S]*code: sandbox_unavailable/);
    const without = await person.run(...run, '--no-sandbox');
    expect(without.code).toBe(0);
    expect(without.out.replaceAll(/\s+/g, ' ')).toContain('rights of the user');
  });

  test('doctor names what is missing', async () => {
    const person = newPerson({ env: { PATH: '/nowhere', AIDEATOR_URL: 'http://127.0.0.1:1' } });
    const { code, out } = await person.run('doctor');
    expect(code).toBe(5);
    expect(out).toMatch(/^fail {2}git +not found/m);
    expect(out).toMatch(/^fail {2}server +No answer from http:\/\/127\.0\.0\.1:1/m);
    const wrong = await newPerson({ env: { AIDEATOR_PORTT: '1' } }).run('doctor');
    expect(wrong.out).toMatch(/^fail {2}configuration +The environment has AIDEATOR_PORTT/m);
  });
});
