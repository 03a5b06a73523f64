import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The demo's repository: a small project with a bug, and a test that shows it. */

const files: Record<string, string> = {
  'package.json': `${JSON.stringify({ name: 'duration', version: '1.0.0', private: true, type: 'module', scripts: { test: 'node --test' } }, null, 2)}\n`,
  'README.md': `# duration

\`parseDuration(text)\` turns \`90s\`, \`15m\` or \`1h30m\` into seconds.
`,
  'src/duration.js': `/** Seconds in each unit. */
const UNITS = { d: 86400, h: 3600, m: 60, s: 1 };

/** Parses a duration such as "90s", "15m" or "1h30m" and returns it in seconds. */
export function parseDuration(text) {
  const [, amount, unit] = /(\\d+)([dhms])/.exec(text);
  return Number(amount) * UNITS[unit];
}
`,
  'test/duration.test.js': `import assert from 'node:assert/strict';
import test from 'node:test';
import { parseDuration } from '../src/duration.js';

test('one unit', () => {
  assert.equal(parseDuration('90s'), 90);
  assert.equal(parseDuration('2h'), 7200);
});

test('units add up', () => {
  assert.equal(parseDuration('1h30m'), 5400);
});
`,
};

export const demoPrompt = 'npm test fails: parseDuration("1h30m") returns 3600 instead of 5400. Fix it.';

export interface Ran {
  code: number;
  output: string;
}

export interface Runner {
  env: Readonly<Record<string, string | undefined>>;
  signal: AbortSignal;
}

/** Runs a program to its end; its exit code and all it printed. Rejects only where it could not be started or was stopped. */
export function runProgram(
  program: string,
  args: readonly string[],
  cwd: string,
  { env, signal }: Runner,
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, env: { ...env }, signal, timeout: 20_000 }, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, output: stdout + stderr });
      else if (typeof error.code === 'number') resolve({ code: error.code, output: stdout + stderr });
      else reject(new Error(error.message, { cause: error }));
    });
  });
}

/** Runs the project's own tests in a folder. */
export function runTests(folder: string, runner: Runner): Promise<Ran> {
  return runProgram(process.execPath, ['--test', '--test-reporter=tap'], folder, runner);
}

/** git with nobody's configuration: the demo must work without one, and must not be changed by one. */
export async function git(folder: string, args: readonly string[], { env, signal }: Runner): Promise<string> {
  const own = {
    ...env,
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'AIdeator demo',
    GIT_AUTHOR_EMAIL: 'demo@localhost',
    GIT_COMMITTER_NAME: 'AIdeator demo',
    GIT_COMMITTER_EMAIL: 'demo@localhost',
  };
  const { code, output } = await runProgram('git', args, folder, { env: own, signal });
  if (code !== 0) throw new Error(`git ${args.join(' ')} ended with ${code}: ${output.trim()}`);
  return output.trim();
}

/** Makes the repository with one commit. */
export async function makeRepository(folder: string, runner: Runner): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  await git(folder, ['init', '--quiet', '--initial-branch=main'], runner);
  await git(folder, ['add', '--all'], runner);
  await git(folder, ['commit', '--quiet', '--message', 'Parse durations'], runner);
}

/** What a TAP report says of each test: `ok` or `not ok`, and its name; of a failed one also what was expected. */
export function testLines(tap: string): string[] {
  const lines: string[] = [];
  for (const line of tap.split('\n')) {
    const result = /^(not ok|ok) \d+ - (.*)$/.exec(line);
    const detail = /^\s+(expected|actual): (.+)$/.exec(line);
    if (result !== null) lines.push(`${result[1] ?? ''}  ${result[2] ?? ''}`);
    else if (detail !== null) lines.push(`        ${detail[1] ?? ''} ${detail[2] ?? ''}`);
  }
  return lines;
}
