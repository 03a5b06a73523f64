import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { newPerson, packageVersion } from '../../test/support/cli.ts';
import { absoluteRepository, variationOf } from './commands/run.ts';

describe('usage', () => {
  test('help, version', async () => {
    const person = newPerson();
    const help = await person.run('--help');
    expect(help).toMatchObject({ code: 0, err: '' });
    expect(help.out).toContain('Exit codes:');
    expect(help.out.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect((await person.run('run', '--help')).out).toContain('--prompt-file <file>');
    expect(await person.run('--version')).toEqual({ code: 0, out: `${packageVersion}\n`, err: '' });
  });

  test.each([
    [['lst'], 'Did you mean list?'],
    [['run', '--promt', 'x'], 'Did you mean --prompt?'],
    [['show'], "missing required argument 'run'"],
    [['keys', 'create', '--scope', 'god'], 'Allowed choices are read, run, admin'],
    [['run', '-n', 'many', '--prompt', 'x'], '--variations must be a whole number, not "many"'],
    [['run', '--timeout', '0', '--prompt', 'x'], '--timeout must be a whole number of at least 1'],
    [['run', '--variation', 'agent=a', '-n', '2', '--prompt', 'x'], 'Use one or the other'],
    [['run', '--prompt', 'x', '--prompt-file', 'y'], 'Give one of them'],
    [['run', '--prompt-file', 'no-such-file'], 'The prompt file cannot be read'],
    [['run'], 'No prompt was given'],
    [['compare', 'last', '1'], 'Two variations make a diff'],
    [['choose', 'last', 'first'], 'The variation must be a whole number'],
    [['ship', 'last', '--apply', '--branch', 'b'], 'three ways to ship'],
  ])('%j', async (argv, words) => {
    const { code, err } = await newPerson().run(...argv);
    expect(code).toBe(2);
    expect(err.replaceAll(/\s+/g, ' ')).toContain(words);
  });

  test('an error is three parts on standard error, or a problem document on standard output', async () => {
    const person = newPerson();
    const { code, out, err } = await person.run('list', '--url', 'http://127.0.0.1:1');
    expect([code, out]).toEqual([6, '']);
    expect(err).toMatch(
      /^error: No answer from http:\/\/127\.0\.0\.1:1: .*\n hint: Is it running there, and is the URL right\? [^]*\n code: server_unreachable\n$/,
    );
    const json = await person.run('list', '--url', 'http://127.0.0.1:1', '--json');
    expect(json).toMatchObject({ code: 6, err: '' });
    expect(JSON.parse(json.out)).toMatchObject({
      type: '/problems/server_unreachable',
      status: 503,
      code: 'server_unreachable',
      hint: expect.any(String) as string,
    });
  });

  test('wrong usage with --json is a problem document, too', async () => {
    const { code, out, err } = await newPerson().run('run', '--promt', 'x', '--json');
    expect([code, err]).toEqual([2, '']);
    expect(JSON.parse(out)).toMatchObject({
      code: 'invalid_request',
      detail: expect.stringContaining('Did you mean --prompt?') as string,
    });
    expect(await newPerson().run('--json', '--version')).toEqual({ code: 0, out: `${packageVersion}\n`, err: '' });
  });

  test('colours: a terminal has them, NO_COLOR and --no-color take them, FORCE_COLOR gives them', async () => {
    const person = newPerson();
    const coloured = async (argv: string[], env: Record<string, string>, terminal: boolean): Promise<boolean> => {
      const { out } = await person.start(['config', ...argv], {
        env,
        ...(terminal ? { terminal: { columns: 80, rows: 24 } } : {}),
      }).done;
      return out.includes('\u001b[');
    };
    expect(await coloured([], {}, false)).toBe(false);
    expect(await coloured([], {}, true)).toBe(true);
    expect(await coloured([], { TERM: 'dumb' }, true)).toBe(false);
    expect(await coloured([], { NO_COLOR: '1' }, true)).toBe(false);
    expect(await coloured(['--no-color'], {}, true)).toBe(false);
    expect(await coloured([], { FORCE_COLOR: '1' }, false)).toBe(true);
    expect(await coloured([], { FORCE_COLOR: '0' }, true)).toBe(false);
  });
});

describe('what is not UTF-8 is refused, never changed', () => {
  test('standard input and files', async () => {
    const person = newPerson();
    const { code, err } = await person.start(['run', '--prompt-file', '-'], { stdin: Buffer.from([0x61, 0xff]) }).done;
    expect([code, err]).toEqual([2, expect.stringContaining('Standard input is not UTF-8')]);
    writeFileSync(join(person.home, 'latin1.txt'), Buffer.from([0xe9]));
    expect((await person.run('run', '--prompt-file', 'latin1.txt')).err).toContain('code: invalid_encoding');
  });

  test('arguments, where the system tells what they were', async () => {
    const person = newPerson();
    const { code, err } = await person.start(['run', '--prompt', 'a\ufffd'], {
      rawArguments: Buffer.from([0x61, 0xff, 0]),
    }).done;
    expect([code, err]).toEqual([2, expect.stringContaining('An argument is not UTF-8')]);
    const meant = await person.start(['show', 'a\ufffd', '--url', 'http://127.0.0.1:1'], {
      rawArguments: Buffer.from('a\ufffd'),
    }).done;
    expect(meant.code).toBe(6);
  });
});

test('a repository is a path that is made absolute, or a URL that is left alone', () => {
  const here = import.meta.dirname;
  expect(absoluteRepository('.', here)).toBe(here);
  expect(absoluteRepository('commands', here)).toBe(join(here, 'commands'));
  expect(absoluteRepository('no/such', here)).toBe(join(here, 'no/such'));
  for (const url of [
    'https://example.invalid/a.git',
    'ssh://git@example.invalid/a',
    'git@example.invalid:a/b.git',
    'file:///tmp/x',
  ]) {
    expect(absoluteRepository(url, here)).toBe(url);
  }
});

test('a variation of an explicit mix', () => {
  expect(variationOf('agent=a, model=p/m=1,strategy=s,dialect=openai')).toEqual({
    agent: 'a',
    model: 'p/m=1',
    strategy: 's',
    dialect: 'openai',
  });
  for (const wrong of ['', 'agent', 'agent=', '=x', 'size=3'])
    expect(() => variationOf(wrong)).toThrow(/is not one of agent=…/);
});
