/**
 * `node scripts/agents-table.ts --agents <folder> [--write]`: runs each agent that is installed there (as `aideator agents install` does it)
 * against the scripted model, by the same check as `aideator agents check`, and makes the table of docs/agents.md of what was seen.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, chownSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine } from '../bench/report.ts';
import { knownAgents } from '../src/agent/catalog.ts';
import { findAgent } from '../src/agent/catalog/find-agent.ts';
import { checkAgent } from '../src/cli/agents/check-run.ts';
import type { Observation } from '../src/cli/agents/observation.ts';
import { findingsOf } from '../src/cli/commands/agents-check.ts';
import { startHouse } from '../src/compose.ts';
import { processEnvironment } from '../src/config.ts';

/** What one child process saw of one agent. */
interface Seen {
  isolation: string;
  passed: boolean;
  failed: string[];
  write: Observation;
  cancel: Observation;
  peakBytes: number | null;
}

const root = resolve(import.meta.dirname, '..');
const uid = 1000;
/** Times are the best of so many rounds, memory is the most. */
const ROUNDS = 3;
const BEGIN = '<!-- table: written by `node scripts/agents-table.ts --write` -->';
const END = '<!-- end of the table -->';

const { values } = parseArgs({
  options: { agents: { type: 'string' }, write: { type: 'boolean', default: false }, one: { type: 'string' } },
});
const folder = resolve(values.agents ?? '/nonexistent');

if (values.one === undefined) table();
else process.stdout.write(JSON.stringify(await one(values.one)));

/** One agent, in this process: its server, recorder and agent are children of it. */
async function one(agent: string): Promise<Seen> {
  const memory = watchMemory();
  const checked = await checkAgent(
    { env: processEnvironment(), startHouse, version: 'table' },
    { agent, config: { agents: {}, agents_dir: folder, data_dir: folder }, signal: AbortSignal.timeout(240_000) },
  );
  const failed = findingsOf(checked).filter(({ state }) => state === 'fail');
  return {
    isolation: checked.isolation,
    // How soon it obeys is a figure of its own, and no matter of where it runs.
    passed: failed.every(({ name }) => name === 'cancels'),
    failed: failed.map(({ name, text }) => `${name}: ${text}`),
    write: checked.write,
    cancel: checked.cancel,
    peakBytes: memory.stop(checked.run.variations.flatMap(({ attempts }) => attempts.map((each) => each.attempt_id))),
  };
}

/** The most that all processes of an attempt took at once: their proportional set sizes, looked at five times a second. */
function watchMemory(): { stop(attempts: readonly string[]): number | null } {
  // Of every attempt on the machine: which are this run's is known at its end.
  const peaks = new Map<string, number>();
  const timer = setInterval(() => {
    const sums = new Map<string, number>();
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const attempt = /(?:^|\0)AIDEATOR_ATTEMPT=([^\0]+)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1];
        if (attempt === undefined) continue;
        const pss = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
        sums.set(attempt, (sums.get(attempt) ?? 0) + Number(pss ?? 0) * 1024);
      } catch {
        // It has ended meanwhile, or is somebody else's.
      }
    }
    for (const [attempt, bytes] of sums) peaks.set(attempt, Math.max(bytes, peaks.get(attempt) ?? 0));
  }, 200);
  return {
    stop: (attempts) => {
      clearInterval(timer);
      const own = attempts.flatMap((attempt) => peaks.get(attempt) ?? []);
      return own.length === 0 ? null : Math.max(...own);
    },
  };
}

function table(): void {
  const places = { folder, platform: `${process.platform}-${process.arch}`, path: '' };
  const agents = knownAgents.filter((agent) => {
    const found = findAgent(agent, places);
    if (found.kind !== 'found') process.stderr.write(`left out: ${found.message}\n`);
    return found.kind === 'found';
  });
  let isolation = '';
  const { date, commit, cpu, cores, memoryGb, node, load } = describeMachine(root);
  const rows = agents.map(({ name, npm }) => {
    process.stderr.write(`${name} …\n`);
    const rounds = Array.from({ length: ROUNDS }, () =>
      measure(name, { asUser: false, readOnly: false, offline: false }),
    );
    const [plain = null] = rounds.filter((seen) => seen?.passed === true);
    const best = (figure: (seen: Seen) => number | null): number | undefined => {
      const known = rounds.flatMap((seen) => (seen === null ? [] : [figure(seen)])).filter((each) => each !== null);
      return known.length === 0 ? undefined : Math.min(...known);
    };
    const most = Math.max(...rounds.map((seen) => seen?.peakBytes ?? 0));
    isolation = plain?.isolation ?? isolation;
    const narrow = measureNarrow(name);
    const streamed = plain !== null && plain.write.thoughts > 1 && plain.write.thoughtsForMs > 0;
    const typed =
      plain !== null && plain.write.toolKinds.length > 0 && plain.write.toolKinds.every((kind) => kind !== null);
    return [
      `${name} ${npm?.version ?? ''}`.trim(),
      number(
        best(({ write }) => write.firstThoughtMs),
        1000,
        1,
      ),
      number(most, 1024 ** 2, 0),
      streamed ? `yes (${plain.write.thoughts})` : 'no',
      typed ? plain.write.toolKinds.join(', ') : 'no',
      number(
        best(({ cancel }) => cancel.cancelMs),
        1000,
        2,
      ),
      narrow.asUser,
      narrow.readOnly,
      narrow.offline,
    ];
  });
  const titles = [
    'agent',
    'first thought (s)',
    'peak memory (MiB)',
    'thoughts streamed',
    'tool calls typed',
    'cancel (s)',
    `uid ${uid}`,
    'read-only root',
    'network needed',
  ];
  const text = [
    `Measured in: ${isolation}.`,
    '',
    `\`node scripts/agents-table.ts\`, ${date}, commit ${commit}. ${cpu}, ${cores} cores, ${memoryGb} GB; Node ${node}. Load average at the start: ${load}.`,
    '',
    line(titles),
    line(titles.map((_, index) => (index === 0 ? '---' : '---:'))),
    ...rows.map(line),
  ].join('\n');
  process.stdout.write(`${text}\n`);
  if (values.write) writeDown(text);
}

/** Between its marks in docs/agents.md. */
function writeDown(text: string): void {
  const file = join(root, 'docs', 'agents.md');
  const [before, rest = ''] = readFileSync(file, 'utf8').split(BEGIN);
  const [, after] = rest.split(END);
  if (before === undefined || after === undefined)
    throw new Error(`${file} has no place for the table: ${BEGIN} … ${END}`);
  writeFileSync(file, `${before}${BEGIN}\n\n${text}\n\n${END}${after}`);
}

/** All three at once; where that fails, each by itself, so that it is known which it was. */
function measureNarrow(agent: string): { asUser: string; readOnly: string; offline: string } {
  const none = { asUser: false, readOnly: false, offline: false };
  if (measure(agent, { asUser: true, readOnly: true, offline: true })?.passed === true)
    return { asUser: 'yes', readOnly: 'yes', offline: 'none' };
  const says = (part: Partial<typeof none>, yes: string, no: string): string =>
    measure(agent, { ...none, ...part })?.passed === true ? yes : no;
  return {
    asUser: says({ asUser: true }, 'yes', 'no'),
    readOnly: says({ readOnly: true }, 'yes', 'no'),
    offline: says({ offline: true }, 'none', 'some'),
  };
}

/** Runs this script for one agent in a process of its own: as another user, on a root that cannot be written, without any network. */
function measure(agent: string, how: { asUser: boolean; readOnly: boolean; offline: boolean }): Seen | null {
  const tmp = mkdtempSync(join(tmpdir(), 'agents-table-'));
  try {
    const home = join(tmp, 'home');
    mkdirSync(home);
    if (how.asUser) for (const path of [tmp, home]) chownSync(path, uid, uid);
    const command = [
      ...(how.asUser ? ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'] : []),
      ...(how.readOnly || how.offline ? confine(tmp, how) : []),
      process.execPath,
      join(import.meta.dirname, 'agents-table.ts'),
      '--one',
      agent,
      '--agents',
      folder,
    ];
    const { PATH = '' } = processEnvironment();
    const [program = '', ...args] = command;
    const ended = spawnSync(program, args, {
      env: { PATH, HOME: home, TMPDIR: tmp, LANG: 'C.UTF-8' },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 300_000,
    });
    if (ended.status !== 0) {
      process.stderr.write(`  ${JSON.stringify(how)}: ${ended.stderr.trim().split('\n').slice(-3).join(' ')}\n`);
      return null;
    }
    const seen = JSON.parse(ended.stdout) as Seen;
    for (const words of seen.failed) process.stderr.write(`  ${JSON.stringify(how)}: ${words}\n`);
    return seen;
  } finally {
    rmSync(tmp, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** /tmp is an empty one of its own, as in a pod. */
function confine(tmp: string, { readOnly, offline }: { readOnly: boolean; offline: boolean }): string[] {
  return [
    'bwrap',
    ...(readOnly ? ['--ro-bind', '/', '/', '--tmpfs', '/tmp'] : ['--bind', '/', '/']),
    ...['--dev', '/dev', '--proc', '/proc', '--unshare-pid', '--die-with-parent'],
    ...['--ro-bind', folder, folder, '--ro-bind', root, root, '--bind', tmp, tmp],
    ...(offline ? ['--unshare-net'] : []),
    '--',
  ];
}

function number(value: number | null | undefined, unit: number, digits: number): string {
  return value === null || value === undefined ? '-' : (value / unit).toFixed(digits);
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
