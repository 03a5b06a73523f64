/** `npm run check`: everything that a machine can say about the code without running it. Each is run, then all that failed are named. */
import { spawnSync } from 'node:child_process';
import { delimiter, dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const bin = join(root, 'node_modules', '.bin');
const checks = [
  { name: 'types', command: 'tsc', args: ['--noEmit', '-p', '.'] },
  { name: 'lint', command: 'oxlint', args: ['--type-aware', '--deny-warnings'] },
  { name: 'format', command: 'oxfmt', args: ['--check'] },
  { name: 'unused code (knip)', command: 'knip', args: [] },
];

const failed = checks.filter(({ name, command, args }) => {
  process.stdout.write(`check: ${name}\n`);
  // The bins are scripts for `env node`: with this PATH that is the Node of the package, not the machine's.
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` };
  return spawnSync(join(bin, command), args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env }).status !== 0;
});

if (failed.length > 0) {
  process.stderr.write(`check: failed: ${failed.map(({ name }) => name).join(', ')}\n`);
  process.exitCode = 1;
} else {
  process.stdout.write('check: all is well\n');
}
