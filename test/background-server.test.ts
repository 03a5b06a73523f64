import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { newPerson, submit } from './support/cli.ts';
import { sourceRepository } from './support/sources.ts';
import { until } from './support/until.ts';

describe('the server in the background', () => {
  test('two CLIs at the same time end up with one; a killed one is replaced, and nothing is lost', async () => {
    const person = newPerson();
    const [a, b] = await Promise.all([person.run('doctor', '--json'), person.run('list', '--json')]);
    expect([a.code, b.code]).toEqual([0, 0]);
    const { pid } = JSON.parse(readFileSync(join(person.dataDir, 'server.json'), 'utf8')) as { pid: number };
    const log = readFileSync(join(person.dataDir, 'server.log'), 'utf8');
    expect(log.match(/"url":"http/g)).toHaveLength(1);

    const id = await submit(person, sourceRepository(), '-n', '1', '--agent', 'lingerer');
    const watching = person.start(['watch', id, '--json', '--stream']);
    await until(() => watching.out.includes('waiting'));
    process.kill(pid, 'SIGKILL');
    await until(() => watching.err.includes('The connection was lost'));
    await until(() => watching.err.includes('Connected again.'));
    await person.run('cancel', id);
    expect((await watching.done).code).toBe(10);
    const seen = watching.out
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: number }).id);
    const stored = (await person.run('logs', id, '--json')).out
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: number }).id);
    expect(seen).toEqual(stored);
  }, 90_000);

  test('one that cannot start says why: a damaged database, a folder that cannot be written', async () => {
    const person = newPerson();
    mkdirSync(person.dataDir);
    writeFileSync(
      join(person.dataDir, 'aideator.sqlite'),
      'this is no database, and long enough to be looked at'.repeat(100),
    );
    const damaged = await person.run('list', '--json');
    expect(damaged.code).toBe(5);
    expect(JSON.parse(damaged.out)).toMatchObject({ code: 'database_corrupt' });
    writeFileSync(join(person.home, 'file'), '');
    const unwritable = await person.run('list', '--data-dir', join(person.home, 'file', 'data'));
    expect(unwritable.code).toBe(5);
    expect(unwritable.err).toContain('code: data_dir_readonly');
    // A file system that makes no folders.
    expect((await person.run('list', '--data-dir', '/proc/aideator/data')).err).toContain('code: data_dir_readonly');
  });

  test('started before a key or a setting was what it is now: it is started anew with it', async () => {
    const person = newPerson({ settings: { default_model: null } });
    const command = ['run', '--repo', sourceRepository(), '--prompt', 'x', '-n', '1', '--detach'];
    const without = await person.run(...command);
    expect(without.code).toBe(5);
    expect(without.err).toContain('ANTHROPIC_API_KEY or OPENAI_API_KEY');
    expect(without.err).toContain('aideator demo');
    expect(without.err).toContain('Then run this again');
    const withKey = async (key: string) => {
      const { code, err } = await person.start(command, { env: { ANTHROPIC_API_KEY: key } }).done;
      const { runs } = JSON.parse((await person.run('list', '--json')).out) as { runs: { status: string }[] };
      await until(async () => !/"status": "(queued|running)"/.test((await person.run('list', '--json')).out));
      return { code, err, runs: runs.length };
    };
    const anew = (what: string): string => `The server was started before ${what}: starting it anew.\n`;
    expect(await withKey('sk-one')).toEqual({ code: 0, err: anew('ANTHROPIC_API_KEY was set'), runs: 1 });
    expect(await withKey('sk-two')).toEqual({ code: 0, err: anew('ANTHROPIC_API_KEY was changed'), runs: 2 });
    // A terminal without the key uses what the server has.
    expect(await person.run(...command)).toMatchObject({ code: 0, err: '' });
  }, 90_000);

  test('runs under way keep it as it is, and that is said; later it is started anew', async () => {
    const person = newPerson();
    const id = await submit(person, sourceRepository(), '-n', '1', '--agent', 'lingerer');
    const file = person.env['AIDEATOR_CONFIG'] ?? '';
    writeFileSync(file, `${readFileSync(file, 'utf8')}strategies: { brief: { instruction: Be brief. } }\n`);
    const command = [
      'run',
      '--repo',
      sourceRepository(),
      '--prompt',
      'x',
      '--strategy',
      'brief',
      '-n',
      '1',
      '--detach',
    ];
    expect(await person.run(...command)).toMatchObject({
      code: 2,
      err: expect.stringMatching(
        /^The server was started before the configuration was changed, and has runs under way: .*\n.*unknown_strategy/s,
      ) as string,
    });
    const missing = [...command.slice(0, 5), '--model', 'anthropic/claude-sonnet-4-5', '--detach'];
    expect(await person.start(missing, { env: { ANTHROPIC_API_KEY: 'sk-none' } }).done).toMatchObject({
      code: 5,
      err: expect.stringMatching(/was started without ANTHROPIC_API_KEY, and has runs\s+under way/) as string,
    });
    await person.run('cancel', id);
    expect((await person.run('watch', id)).code).toBe(10);
    expect(await person.run(...command)).toMatchObject({
      code: 0,
      err: 'The server was started before the configuration was changed: starting it anew.\n',
    });
  }, 90_000);

  test('one that a person started is left alone, whatever key it lacks', async () => {
    const person = newPerson({ settings: { default_model: null } });
    const server = person.start(['serve', '--port', '0']);
    await until(() => server.out.includes('http://'));
    const url = /http:\/\/[\d.:]+/.exec(server.out)?.[0] ?? '';
    const command = ['run', '--repo', sourceRepository(), '--prompt', 'x', '-n', '1', '--detach'];
    expect((await person.run(...command)).err).not.toContain('Then run this again');
    const { code, err } = await person.start(command, { env: { ANTHROPIC_API_KEY: 'sk-none' } }).done;
    expect(code).toBe(5);
    expect(err).toContain(`The server at ${url}, which you started yourself, has no`);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    server.signal('interrupt');
    expect((await server.done).code).toBe(0);
  });
});
