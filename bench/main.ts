import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Effort } from './bench-case.ts';
import { cases, notQuick } from './cases/all.ts';
import { runCase, type Outcome } from './harness/context.ts';
import { describeMachine, machineText, rowsOf, table, writeBetween } from './report.ts';

/** `npm run bench`: measures, says what was measured, and fails where anything was lost, doubled or out of order. */

const USAGE = `usage: npm run bench -- [options]
  --quick          about three minutes; leaves out the longest cases
  --tiny           a few seconds: whether the bench itself works (its figures mean nothing)
  --only a,b       these cases only: ${cases.map(({ name }) => name).join(', ')}
  --json FILE      all figures, round by round
  --write          puts the figures into docs/performance.md
  --profile DIR    CPU profiles of the measured servers`;

const root = dirname(import.meta.dirname);
process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      tiny: { type: 'boolean', default: false },
      only: { type: 'string' },
      json: { type: 'string' },
      write: { type: 'boolean', default: false },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const effort: Effort = values.tiny ? 'tiny' : values.quick ? 'quick' : 'full';
  const names = values.only?.split(',');
  const unknown = names?.filter((name) => !cases.some((one) => one.name === name)) ?? [];
  if (unknown.length > 0) {
    console.error(`There is no case ${unknown.join(', ')}.\n${USAGE}`);
    return 2;
  }
  const chosen = cases.filter((one) => names?.includes(one.name) ?? (effort !== 'quick' || !notQuick.has(one)));
  const machine = describeMachine(root);
  console.error(machineText(machine));
  const outcomes: Outcome[] = [];
  for (const one of chosen) {
    console.error(`${one.row} ${one.name} …`);
    const outcome = await runCase(one, {
      effort,
      profileDir: values.profile,
      say: (text) => console.error(`  ${text}`),
    });
    console.error(`  ${outcome.seconds.toFixed(1)} s`);
    outcomes.push(outcome);
  }
  const rows = outcomes.flatMap(rowsOf);
  const violations = outcomes.flatMap(({ name, violations: found }) => found.map((each) => `${name}: ${each}`));
  console.log(`\n${table(rows)}\n`);
  const missed = rows.filter(({ reached }) => reached === false).length;
  console.log(`${rows.filter(({ reached }) => reached === true).length} goals reached, ${missed} missed.`);
  console.log(
    violations.length === 0
      ? 'C1: nothing lost, doubled or out of order.'
      : `C1: NOT RIGHT:\n${violations.map((each) => `  ${each}`).join('\n')}`,
  );
  if (values.json !== undefined) {
    const figures = outcomes.flatMap((outcome) => outcome.figures.map((figure) => ({ row: outcome.row, ...figure })));
    writeFileSync(values.json, `${JSON.stringify({ machine, effort, rows, figures, violations }, null, 2)}\n`);
  }
  if (values.write && violations.length === 0 && effort !== 'tiny') {
    const how = `\`npm run bench${effort === 'quick' ? ' -- --quick' : ''}\`${names === undefined ? '' : ` (only ${names.join(', ')})`}`;
    writeBetween(join(root, 'docs', 'performance.md'), `${how}, ${machineText(machine)}\n\n${table(rows)}`);
  }
  return violations.length === 0 ? 0 : 1;
}
