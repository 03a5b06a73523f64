import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';
import { median, type Bound, type Figure } from './bench-case.ts';
import { canPin } from './harness/child.ts';
import type { Outcome } from './harness/context.ts';

/** What is said of a run of the bench: as a table, as JSON, and in docs/performance.md. */

export interface Machine {
  date: string;
  cpu: string;
  cores: number;
  memoryGb: number;
  kernel: string;
  node: string;
  commit: string;
  pinned: boolean;
  /** Load average over a minute when it began: above 0.5 others were at work. */
  load: number;
}

export function describeMachine(root: string): Machine {
  const git = (...args: string[]) => {
    try {
      return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    } catch {
      return null;
    }
  };
  const changed = git('status', '--porcelain', '--', 'src', 'bench');
  const commit = git('rev-parse', '--short', 'HEAD');
  return {
    date: `${new Date().toISOString().slice(0, 16)}Z`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: `${type()} ${release()}`,
    node: process.version,
    commit: commit === null ? 'no commit' : `${commit}${changed === '' ? '' : ' with changes'}`,
    pinned: canPin(),
    load: Number((loadavg()[0] ?? 0).toFixed(1)),
  };
}

export interface Row {
  row: string;
  what: string;
  unit: string;
  value: number;
  lowest: number;
  highest: number;
  beside: { name: string; value: number; ratio: number } | null;
  goal: string | null;
  /** null where there is no goal for it. */
  reached: boolean | null;
}

export function rowsOf({ row, figures }: Pick<Outcome, 'row' | 'figures'>): Row[] {
  return figures.map((figure) => rowOf(row, figure));
}

function rowOf(row: string, { what, unit, rounds, goal, beside }: Figure): Row {
  const value = median(rounds);
  const peer = beside === undefined ? null : { name: beside.name, value: median(beside.rounds) };
  const ratio = peer === null ? Number.NaN : value / peer.value;
  const goals = [
    ...(goal === undefined ? [] : [{ text: `${boundText(goal)} ${unit}`, reached: isWithin(value, goal) }]),
    ...(beside?.goal === undefined
      ? []
      : [{ text: `${boundText(beside.goal)} times ${beside.name}`, reached: isWithin(ratio, beside.goal) }]),
  ];
  return {
    row,
    what,
    unit,
    value,
    lowest: Math.min(...rounds),
    highest: Math.max(...rounds),
    beside: peer === null ? null : { ...peer, ratio },
    goal: goals.length === 0 ? null : goals.map(({ text }) => text).join(', '),
    reached: goals.length === 0 ? null : goals.every(({ reached }) => reached),
  };
}

function boundText(bound: Bound): string {
  return 'atLeast' in bound ? `>= ${format(bound.atLeast)}` : `<= ${format(bound.atMost)}`;
}

function isWithin(value: number, bound: Bound): boolean {
  return 'atLeast' in bound ? value >= bound.atLeast : value <= bound.atMost;
}

/** Three digits that count; thousands apart. */
export function format(value: number): string {
  if (!Number.isFinite(value)) return '?';
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return String(Number(value.toPrecision(value >= 10 ? 3 : 2)));
}

/** A Markdown table. */
export function table(rows: readonly Row[]): string {
  const head = ['', 'measured', 'median (lowest to highest)', 'beside it, same run', 'ratio', 'goal', 'reached'];
  const lines = rows.map(({ row, what, unit, value, lowest, highest, beside, goal, reached }) => [
    row,
    what,
    `${format(value)} ${unit} (${format(lowest)} to ${format(highest)})`,
    beside === null ? '' : `${beside.name}: ${format(beside.value)} ${unit}`,
    beside === null ? '' : `${format(beside.ratio)}x`,
    goal ?? '',
    reached === null ? '' : reached ? 'yes' : '**no**',
  ]);
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function machineText(machine: Machine): string {
  const { date, cpu, cores, memoryGb, kernel, node, commit, pinned, load } = machine;
  return [
    `${date}, commit ${commit}. ${cpu}, ${cores} cores, ${memoryGb} GB; ${kernel}; Node ${node}.`,
    pinned ? 'Server on core 0, load on core 1 (rows O1 and the recorder of I1: not pinned).' : 'Not pinned.',
    `Load average at the start: ${load}.`,
  ].join(' ');
}

export const BEGIN = '<!-- figures: written by `npm run bench -- --write` -->';
export const END = '<!-- end of figures -->';

/** Puts text between the markers of a document. Throws where they are not there. */
export function writeBetween(file: string, text: string): void {
  const document = readFileSync(file, 'utf8');
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`${file} has no place for the figures: ${BEGIN} … ${END}`);
  writeFileSync(file, `${document.slice(0, begin + BEGIN.length)}\n\n${text}\n\n${document.slice(end)}`);
}
