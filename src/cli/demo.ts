import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type Config, loadConfig } from '../config.ts';
import type { Comparison, Run } from '../contract/api.ts';
import { AppError } from '../errors.ts';
import { Client } from './client.ts';
import { renderComparison } from './compare-table.ts';
import { plainLine, wrap } from './display.ts';
import { demoPrompt, git, makeRepository, type Runner, runTests, testLines } from './demo/sample-repository.ts';
import { followRun } from './follow.ts';
import type { Io } from './io.ts';
import type { Session } from './session.ts';

interface DemoOptions {
  keep?: boolean;
  quick?: boolean;
  plain?: boolean;
}

const variations = [
  { model: 'scripted/demo', strategy: 'smallest-change', dialect: 'anthropic' as const },
  { model: 'scripted/demo', strategy: 'test-first', dialect: 'openai' as const },
  { model: 'scripted/demo', strategy: 'edge-cases-first', dialect: 'anthropic' as const },
  { model: 'scripted/demo-refused', dialect: 'openai' as const },
];
const CHOSEN = 1;
const REASON = 'It shows the bug in a test before it mends it, and changes little else.';

/** `aideator demo`: the whole loop on a real repository with a scripted model. 0 only if all of it happened. */
export async function demo(session: Session, _args: string[], options: DemoOptions): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'aideator-demo-'));
  const stop = new AbortController();
  const off = session.io.onSignal(() => stop.abort());
  try {
    return await perform(session, folder, options, stop.signal);
  } catch (error) {
    if (stop.signal.aborted) return 130;
    throw error;
  } finally {
    off();
    if (options.keep === true)
      session.print(
        '',
        `Kept: ${join(folder, 'repository')} (the repository), ${join(folder, 'data')} (database, attempts, logs).`,
      );
    else rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

async function perform(session: Session, folder: string, options: DemoOptions, signal: AbortSignal): Promise<number> {
  const { palette } = session;
  const title = (text: string): void => session.print('', palette.bold(text));
  const say = (text: string): void => session.print(...wrap(text, session.columns));
  const config = demoConfig(session.io, folder, options.quick === true);
  const runner: Runner = { env: config.env, signal };
  const repository = join(folder, 'repository');
  mkdirSync(repository);
  await makeRepository(repository, runner);

  say(
    'This is the whole of AIdeator on a small real repository. The model is scripted: what it says was written before, over the protocols of the real ones; its prices are those of the script. All else is real: processes, tools, patches, tests, git.',
  );
  title('1. The repository: its own test fails');
  const before = await runTests(repository, runner);
  session.print(...testLines(before.output).map((line) => `  ${line.startsWith('not ok') ? palette.bad(line) : line}`));
  expectThat(before.code !== 0, 'the test of the demo repository was to fail at first, but passed');

  const house = await session.io.startHouse(config, { version: session.io.version });
  try {
    const client = new Client({ url: house.url });
    title('2. One task, four variations');
    session.print(`  ${demoPrompt}`);
    const { sandbox } = await client.info();
    // Its model is scripted and its repository its own: it may go on where nobody else's agent may.
    const without = sandbox.problem === null ? {} : { sandbox: false };
    const { run_id: runId, isolation } = await client.submit({
      repository,
      prompt: demoPrompt,
      variations,
      ...without,
    });
    if (sandbox.problem !== null) say(`No sandbox works here (${sandbox.problem}): the demo goes on without one.`);
    session.print(...wrap(`Isolation: ${plainLine(isolation)}`, session.columns).map((line) => palette.dim(line)));
    const end = await followRun(session, client, await client.run(runId), {
      show: 'people',
      plain: options.plain,
      interrupt: 'cancel',
    });
    if (end.kind !== 'over') {
      await ended(client, runId);
      return 130;
    }

    title('3. The evidence');
    const comparison = await client.compare(runId);
    session.print(...renderComparison(comparison, session.columns, palette));
    await checkRun(client, end.run, comparison);

    title('4. Choose and ship');
    await client.select(runId, { winning_variation_id: CHOSEN, reason: REASON });
    say(`Variation ${CHOSEN} is chosen: ${REASON}`);
    const shipped = await client.ship(runId, { kind: 'branch' });
    const branch = shipped.branch ?? '';
    say(`It is branch ${branch} of the repository now, commit ${shipped.commit?.slice(0, 12) ?? '-'}.`);

    title("5. The repository's own test, on that branch");
    const worktree = join(folder, 'worktree');
    await git(repository, ['worktree', 'add', '--quiet', worktree, branch], runner);
    const after = await runTests(worktree, runner);
    session.print(
      ...testLines(after.output).map((line) => `  ${line.startsWith('ok') ? palette.good(line) : palette.bad(line)}`),
    );
    await git(repository, ['worktree', 'remove', '--force', worktree], runner);
    expectThat(after.code === 0, `the test fails on branch ${branch}`);
  } finally {
    await house.close();
  }
  title('That was the whole job: submit, watch, compare, choose, ship.');
  say('With a model of your own: export ANTHROPIC_API_KEY=… (or OPENAI_API_KEY=…), then in any git repository');
  session.print(`  ${howToCall()} run --prompt "…" -n 3`);
  return 0;
}

/** What to type for `aideator`: in a clone nothing of that name is on the PATH. */
function howToCall(): string {
  const inClone = join(import.meta.dirname, '..', '..', 'bin', 'aideator');
  return existsSync(inClone) ? plainLine(inClone) : 'aideator';
}

/** What the demo is to show, or an error: it must not end well when it went wrong. */
async function checkRun(client: Client, run: Run, comparison: Comparison): Promise<void> {
  const patches = new Set<string>();
  for (const { variation_id: index, status, end_reason: reason, message } of comparison.variations.slice(0, 3)) {
    expectThat(
      status === 'succeeded',
      `variation ${index} ended as ${status} (${reason ?? 'no reason'}): ${message ?? 'no message'}`,
    );
    patches.add((await client.patch(run.run_id, index)).toString('latin1'));
  }
  expectThat(patches.size === 3, 'three different patches were expected');
  const last = comparison.variations[3];
  expectThat(
    last?.status === 'failed' && last.message !== null,
    'the fourth variation was to fail for a reason that is shown',
  );
}

function expectThat(holds: boolean, otherwise: string): asserts holds {
  if (!holds)
    throw new AppError('internal', `The demo went wrong: ${otherwise}.`, {
      hint: 'Run it again with --keep and look at the folders it names; then please report it.',
    });
}

/** Until nothing of a cancelled run is left that writes into the demo's folder. */
async function ended(client: Client, runId: string): Promise<void> {
  for await (const _item of client.stream(runId, { signal: AbortSignal.timeout(15_000) }));
}

/** Settings of the demo's own house: nothing of the user's, no key, and a free port. */
function demoConfig(io: Io, folder: string, quick: boolean): Config {
  const env = Object.fromEntries(Object.entries(io.env).filter(([name]) => !/^AIDEATOR_|_(API_KEY|TOKEN)$/.test(name)));
  // The agent's own tests are to run with this Node, also where another one comes first, or none.
  const path = [dirname(process.execPath), env['PATH']].filter((part) => part !== undefined).join(delimiter);
  const script = join(folder, 'demo.script.yaml');
  const text = readFileSync(join(import.meta.dirname, 'demo', 'demo.script.yaml'), 'utf8');
  writeFileSync(script, quick ? withoutPauses(text) : text);
  const { config } = loadConfig({
    env: { ...env, PATH: path, XDG_CONFIG_HOME: folder },
    cwd: folder,
    flags: {
      data_dir: join(folder, 'data'),
      host: '127.0.0.1',
      port: 0,
      log_level: 'silent',
      default_model: 'scripted/demo',
      providers: { scripted: { kind: 'scripted', script } },
    },
  });
  return config;
}

function withoutPauses(script: string): string {
  return stringify(
    parse(script, (key: unknown, value: unknown) => (key === 'delay_ms' || key === 'first_delay_ms' ? 0 : value)),
  );
}
