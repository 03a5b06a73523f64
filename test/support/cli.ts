import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import type { Io } from '../../src/cli/io.ts';
import { runCli } from '../../src/cli/program.ts';
import { startHouse } from '../../src/compose.ts';
import { testEnv } from './house.ts';
import { tempDir } from './temp.ts';
import { until } from './until.ts';

/** The package's own: the server that the CLI starts in the background is a process of main.ts and says the same. */
export const { version: packageVersion } = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8'),
) as {
  version: string;
};

/** A person at a keyboard: command lines run in this process, against the server that the CLI itself starts or finds. */
export interface Person {
  home: string;
  dataDir: string;
  env: Record<string, string>;
  /** Runs a command line to its end. */
  run(...argv: string[]): Promise<Told>;
  /** Starts one, and goes on. */
  start(argv: string[], options?: StartOptions): Running;
}

export interface StartOptions {
  cwd?: string;
  stdin?: Buffer;
  /** What the person types where a secret is asked for; without it there is no terminal to ask on. */
  secret?: Promise<string>;
  /** A terminal of so many columns and rows on standard output. */
  terminal?: { columns: number; rows: number };
  env?: Record<string, string>;
  rawArguments?: Buffer;
}

export interface Told {
  code: number;
  out: string;
  err: string;
}

export interface Running {
  readonly out: string;
  readonly err: string;
  /** Standard output as the bytes it was. */
  bytes(): Buffer;
  signal(signal: 'interrupt' | 'terminate'): void;
  done: Promise<Told>;
}

/** Agents of the configuration: each is the scripted ACP agent with one behaviour. */
const agent = join(import.meta.dirname, 'acp-agent.ts');
const behaviour = (...args: string[]): { command: string[] } => ({ command: ['{node}', agent, ...args] });

const settings = {
  log_level: 'warn',
  // Most tests are of other things; those of the sandbox say so.
  sandbox: { mode: 'off' },
  default_model: 'scripted/any',
  default_agent: 'writer',
  providers: { scripted: { kind: 'scripted', script: '' } },
  agents: {
    writer: behaviour('write', 'value.txt=new\n'),
    tester: behaviour('write', 'value.txt=tested\n', 'value.test.js=ok\n'),
    lingerer: behaviour('linger'),
    quitter: behaviour('exit', '7'),
  },
};

export function newPerson(more: { settings?: Record<string, unknown>; env?: Record<string, string> } = {}): Person {
  const home = tempDir();
  const dataDir = join(home, 'data');
  const script = join(home, 'script.yaml');
  const config = join(home, 'config.yaml');
  writeFileSync(script, 'models: { any: { turns: [{ text: Hello. }] } }\n');
  writeFileSync(
    config,
    stringify({ ...settings, providers: { scripted: { kind: 'scripted', script } }, ...more.settings }),
  );
  const env = { ...testEnv(home), AIDEATOR_CONFIG: config, AIDEATOR_DATA_DIR: dataDir, LANG: 'C.UTF-8', ...more.env };
  onTestFinished(() => stopServerOf(dataDir));

  const start = (argv: string[], options: StartOptions = {}): Running => {
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const text = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString('utf8');
    const listeners = new Set<(signal: 'interrupt' | 'terminate') => void>();
    const sink = (chunks: Buffer[], terminal: StartOptions['terminal']): Io['stdout'] => ({
      write: (chunk) => void chunks.push(Buffer.from(chunk)),
      isTTY: terminal !== undefined,
      columns: terminal?.columns ?? 80,
      rows: terminal?.rows ?? 24,
    });
    const io: Io = {
      stdout: sink(out, options.terminal),
      stderr: sink(err, undefined),
      askSecret: () => options.secret ?? null,
      readStdin: async () => options.stdin ?? Buffer.alloc(0),
      env: { ...env, ...options.env },
      cwd: options.cwd ?? home,
      onSignal: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      onExit: () => () => undefined,
      now: () => Date.now(),
      rawArguments: () => options.rawArguments ?? null,
      program: [process.execPath, join(import.meta.dirname, '..', '..', 'src', 'main.ts')],
      version: packageVersion,
      startHouse,
    };
    return {
      get out() {
        return text(out);
      },
      get err() {
        return text(err);
      },
      bytes: () => Buffer.concat(out),
      signal: (signal) => listeners.forEach((listener) => listener(signal)),
      done: runCli(argv, io).then((code) => ({ code, out: text(out), err: text(err) })),
    };
  };
  return { home, dataDir, env, start, run: (...argv) => start(argv).done };
}

/** Submits a run with `run --detach`; its id. */
export async function submit(person: Person, repository: string, ...more: string[]): Promise<string> {
  const { code, out, err } = await person.run(
    'run',
    '--repo',
    repository,
    '--prompt',
    'Set the value.',
    '--detach',
    '--json',
    ...more,
  );
  expect([code, err]).toEqual([0, '']);
  return (JSON.parse(out) as { run_id: string }).run_id;
}

/** The server that the CLI left in the background. */
async function stopServerOf(dataDir: string): Promise<void> {
  const path = join(dataDir, 'server.json');
  if (!existsSync(path)) return;
  const { pid } = JSON.parse(readFileSync(path, 'utf8')) as { pid: number };
  if (pid === process.pid) return;
  process.kill(pid, 'SIGTERM');
  await until(() => !isAlive(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
