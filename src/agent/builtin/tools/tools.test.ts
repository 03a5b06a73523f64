import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeRepository } from '../../../../test/support/repository.ts';
import { tempDir } from '../../../../test/support/temp.ts';
import { until } from '../../../../test/support/until.ts';
import { startTimeOf } from '../../process-identity.ts';
import { searchFiles } from '../search-files.ts';
import { createCappedOutput } from './capped-output.ts';
import { prepareCall } from './toolset.ts';

const never = new AbortController().signal;

function place(files: Record<string, string | Uint8Array> = {}) {
  const cwd = tempDir();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(cwd, name, '..'), { recursive: true });
    writeFileSync(join(cwd, name), content);
  }
  const call = (name: string, input: unknown, signal = never) => prepareCall(name, input, { cwd, signal });
  return { cwd, call, run: (name: string, input: unknown, signal = never) => call(name, input, signal).run() };
}

describe('bash', () => {
  test('gives output and exit code', async () => {
    const { run, cwd } = place();
    expect(await run('bash', { command: 'pwd; echo oh >&2; exit 3' })).toEqual({
      text: `${cwd}\noh\n[exit code 3]`,
      failed: true,
    });
    expect(await run('bash', { command: 'true' })).toEqual({ text: '[exit code 0]', failed: false });
    expect((await run('bash', { command: 'kill -9 $$' })).text).toBe('[ended by SIGKILL]');
  });

  test('a long output is kept at both ends, with how much is missing', async () => {
    const { run } = place();
    const { text } = await run('bash', { command: 'echo begin; head -c 1000000 /dev/zero | tr "\\0" x; echo end' });
    expect(text.length).toBeLessThan(34_000);
    expect(text).toMatch(/^begin\nx+\n\[… 967\d{3} bytes are left out here …\]\nx+end\n\[exit code 0\]$/);
  });

  test('its time is limited, and all that it started goes with it', async () => {
    const { run } = place();
    const { text, failed } = await run('bash', { command: 'sleep 300 & echo $!; sleep 300', timeout_seconds: 0.5 });
    expect(failed).toBe(true);
    const [, pid] = /^(\d+)\n\[killed: it took longer than 0\.5 s\]$/.exec(text) ?? [];
    await until(() => startTimeOf(Number(pid)) === null);
  });

  test('what is left in the background is not waited for', async () => {
    const { run } = place();
    const { text } = await run('bash', { command: 'sleep 300 & echo $!' });
    const [, pid] = /^(\d+)\n\[exit code 0\]$/.exec(text) ?? [];
    expect(startTimeOf(Number(pid))).not.toBeNull();
    process.kill(Number(pid), 'SIGKILL');
  });

  test('a cancel ends it at once', async () => {
    const { run, cwd } = place();
    const stop = new AbortController();
    const running = run('bash', { command: 'echo $$ > pid; sleep 300' }, stop.signal);
    await until(() => readPid(cwd) > 0);
    stop.abort();
    await expect(running).rejects.toThrow('aborted');
    await until(() => startTimeOf(readPid(cwd)) === null);
    await expect(run('bash', { command: 'touch late' }, stop.signal)).rejects.toThrow('aborted');
  });

  const readPid = (cwd: string): number => {
    try {
      return Number(readFileSync(join(cwd, 'pid'), 'utf8'));
    } catch {
      return 0;
    }
  };

  test('has a title of one line', () => {
    const { call } = place();
    expect(call('bash', { command: 'ls' }).title).toBe('ls');
    expect(call('bash', { command: 'cat <<E\nx\nE' }).title).toBe('cat <<E …');
  });

  test('the cut never goes through a character', () => {
    const text = '😀'.repeat(1000);
    for (const half of [9, 10, 11, 12]) {
      const output = createCappedOutput(half);
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; at += 7) output.push(bytes.subarray(at, at + 7));
      const [, head = '', missing, tail = ''] =
        /^(.*)\n\[… (\d+) bytes are left out here …\]\n(.*)$/su.exec(output.text()) ?? [];
      expect(head + tail).toMatch(/^😀*$/u);
      expect(Buffer.byteLength(head + tail) + Number(missing)).toBe(bytes.length);
    }
  });
});

describe('read', () => {
  const lines = (from: number, to: number): string =>
    Array.from({ length: to - from + 1 }, (_, n) => `line ${from + n}`).join('\n');

  test('gives a file, or some of its lines, and says where to go on', async () => {
    const { run } = place({ 'a.txt': `${lines(1, 5)}\n`, empty: '', 'long.txt': lines(1, 2500) });
    expect((await run('read', { path: 'a.txt' })).text).toBe(lines(1, 5));
    expect((await run('read', { path: 'a.txt', offset: 2, limit: 2 })).text).toBe(
      'line 2\nline 3\n[lines 2 to 3 of 5; go on with offset 4]',
    );
    expect((await run('read', { path: 'a.txt', offset: 4 })).text).toBe('line 4\nline 5\n[lines 4 to 5 of 5]');
    expect((await run('read', { path: 'empty' })).text).toBe('[an empty file]');
    expect((await run('read', { path: 'long.txt' })).text).toBe(
      `${lines(1, 2000)}\n[lines 1 to 2000 of 2500; go on with offset 2001]`,
    );
  });

  test('what is too long for a model is cut', async () => {
    const { run } = place({ wide: `${'x'.repeat(5000)}\nshort`, big: `${'y'.repeat(1500)}\n`.repeat(100) });
    expect((await run('read', { path: 'wide' })).text).toBe(`${'x'.repeat(2000)} [… 3000 more characters]\nshort`);
    expect((await run('read', { path: 'big' })).text).toMatch(/\[lines 1 to 39 of 100; go on with offset 40\]$/);
  });

  test('a folder is listed', async () => {
    const { run } = place({ 'b.txt': '', 'a/c.txt': '' });
    expect((await run('read', { path: '.' })).text).toBe('a/\nb.txt');
  });

  test.each([
    [{ path: 'missing' }, 'missing does not exist.'],
    [{ path: 'binary' }, 'binary is a binary file of 3 bytes.'],
    [{ path: 'a.txt', offset: 9 }, 'The file has 1 lines; there is no line 9.'],
    [{ path: 'a.txt/x' }, /cannot be read: ENOTDIR/],
    [{ path: '/dev/null' }, '/dev/null is not a regular file.'],
    [{ path: 'a\0' }, 'A path cannot have a NUL in it.'],
    [{ path: '' }, /^The input of read is not valid: path: /],
    [{}, /^The input of read is not valid: path: /],
  ])('%j fails with words', async (input, words) => {
    const { run } = place({ binary: new Uint8Array([0, 1, 2]), 'a.txt': 'a' });
    const { text, failed } = await run('read', input);
    expect(failed).toBe(true);
    expect(text).toMatch(words);
  });
});

describe('write and edit', () => {
  test('a file is made, then replaced; both show the difference', async () => {
    const { run, cwd, call } = place();
    const path = join(cwd, 'a/b.txt');
    expect(await run('write', { path: 'a/b.txt', content: 'é\n' })).toEqual({
      text: 'Made a/b.txt (3 bytes).',
      failed: false,
      content: [{ type: 'diff', path, oldText: null, newText: 'é\n' }],
    });
    expect(await run('write', { path, content: 'new' })).toMatchObject({
      text: 'Replaced a/b.txt (3 bytes).',
      content: [{ oldText: 'é\n', newText: 'new' }],
    });
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(call('write', { path: 'a/b.txt', content: '' }).locations).toEqual([{ path }]);
    expect((await run('write', { path: 'huge', content: 'x'.repeat(300_000) })).content).toBeUndefined();
  });

  test('nothing is written outside of the workspace, not even through a link', async () => {
    const { run, cwd } = place();
    const outside = tempDir();
    symlinkSync(outside, join(cwd, 'link'));
    for (const path of [join(outside, 'x'), '../x', 'link/x', 'link/deep/x']) {
      expect(await run('write', { path, content: 'x' })).toMatchObject({
        failed: true,
        text: expect.stringContaining('outside of the workspace') as string,
      });
      expect(await run('edit', { path, old_text: 'a', new_text: 'b' })).toMatchObject({ failed: true });
    }
    expect(await run('read', { path: outside })).toMatchObject({ text: '[an empty folder]' });
  });

  test('what cannot be written says why', async () => {
    const { run } = place({ 'a/b': '' });
    expect((await run('write', { path: 'a', content: '' })).text).toBe('a is a folder.');
    expect((await run('write', { path: 'a/b/c', content: '' })).text).toMatch(/^a\/b\/c cannot be written: /);
  });

  test('text is replaced where it stands once, or everywhere when asked', async () => {
    const { run, cwd } = place({ 'a.txt': 'one two\none $& three\n' });
    expect(await run('edit', { path: 'a.txt', old_text: 'two', new_text: "$& $1 $'" })).toEqual({
      text: 'Replaced it in a.txt.',
      failed: false,
      content: [{ type: 'diff', path: join(cwd, 'a.txt'), oldText: 'two', newText: "$& $1 $'" }],
    });
    expect(await run('edit', { path: 'a.txt', old_text: 'one', new_text: '1' })).toMatchObject({
      failed: true,
      text: 'old_text stands 2 times in a.txt: give more lines around it, or replace_all.',
    });
    expect((await run('edit', { path: 'a.txt', old_text: 'one', new_text: '1', replace_all: true })).text).toBe(
      'Replaced 2 occurrences in a.txt.',
    );
    expect(readFileSync(join(cwd, 'a.txt'), 'utf8')).toBe("1 $& $1 $'\n1 $& three\n");
  });

  test.each([
    ['missing', 'a', 'b', 'missing does not exist; use write to make it.'],
    ['.', 'a', 'b', /cannot be read: EISDIR/],
    ['latin', 'a', 'b', 'latin is not a UTF-8 text file.'],
    ['a.txt', 'same', 'same', 'old_text and new_text are the same.'],
    ['a.txt', 'nowhere', 'b', /was not found in a\.txt\. Read the file/],
    ['a.txt', 'if (x) {\n  y', 'b', /with other blanks or line breaks/],
    ['crlf', 'a\nb', 'c', /CRLF/],
  ])('edit of %s: %j', async (path, oldText, newText, words) => {
    const { run } = place({
      'a.txt': 'same\nif (x) {\n\ty\n}\n',
      latin: new Uint8Array([0xe9, 0x61]),
      crlf: 'a\r\nb\r\n',
    });
    const { text, failed } = await run('edit', { path, old_text: oldText, new_text: newText });
    expect(failed).toBe(true);
    expect(text).toMatch(words);
  });
});

describe('search', () => {
  const files = {
    'src/a.ts': 'const x = 1;\nfind me\n',
    'src/b.md': 'find me too\n',
    '.gitignore': 'ignored\n',
    ignored: 'find me not\n',
    'new.ts': 'find me as well\n',
  };

  test('finds in what git knows or would add, by path and glob', async () => {
    const cwd = tempDir();
    const repository = makeRepository(join(cwd, 'r'), { ...files, ignored: null, 'new.ts': null });
    repository.write({
      ignored: files.ignored,
      'new.ts': files['new.ts'],
      binary: new Uint8Array([0, ...Buffer.from('find me')]),
    });
    const run = (input: object) =>
      prepareCall('search', { pattern: 'find me', ...input }, { cwd: repository.path, signal: never }).run();
    expect((await run({})).text.split('\n').toSorted()).toEqual([
      'new.ts:1: find me as well',
      'src/a.ts:2: find me',
      'src/b.md:1: find me too',
    ]);
    expect((await run({ path: 'src', glob: '*.ts' })).text).toBe('src/a.ts:2: find me');
    expect((await run({ pattern: '^nothing$' })).text).toBe('No match in 4 files.');
    expect(await run({ path: 'missing' })).toEqual({ failed: true, text: 'missing does not exist.' });
    expect(await run({ pattern: '(' })).toMatchObject({
      failed: true,
      text: expect.stringMatching(/not a regular expression/) as string,
    });
  });

  test('a cancel ends it, also where the pattern never would', async () => {
    const { run } = place({ slow: `${'a'.repeat(200)}!\n` });
    const stop = new AbortController();
    const searching = run('search', { pattern: '^(a+)+$' }, stop.signal);
    setTimeout(() => stop.abort(), 300);
    await expect(searching).rejects.toThrow('aborted');
  });

  test('outside of a repository dependencies are left out; globs and limits hold', async () => {
    const { cwd } = place({
      ...files,
      'node_modules/x/y.ts': 'find me',
      'many.txt': 'hit\n'.repeat(300),
      'wide.txt': `wide${'w'.repeat(1000)}`,
    });
    const search = (request: object) => searchFiles({ cwd, root: cwd, pattern: 'find me', glob: null, ...request });
    expect((await search({})).lines.map((line) => line.slice(0, line.indexOf(':'))).toSorted()).toEqual([
      'ignored',
      'new.ts',
      'src/a.ts',
      'src/b.md',
    ]);
    expect((await search({ glob: 'src/**/*.md' })).lines).toEqual(['src/b.md:1: find me too']);
    expect((await search({ root: join(cwd, 'src', 'a.ts') })).lines).toEqual(['src/a.ts:2: find me']);
    const many = await search({ pattern: 'hit' });
    expect([many.lines.length, many.more]).toEqual([200, true]);
    expect((await search({ pattern: 'wide' })).lines[0]?.length).toBeLessThan(330);
    await expect(search({ root: join(cwd, 'none') })).rejects.toThrow('none does not exist.');
  });
});

test('a tool that does not exist is a call that fails', async () => {
  const { call } = place();
  const view = call('teleport', {});
  expect(view).toMatchObject({ title: 'teleport', kind: 'other' });
  expect(await view.run()).toEqual({
    failed: true,
    text: 'There is no tool "teleport". There are: bash, read, write, edit, search.',
  });
});
