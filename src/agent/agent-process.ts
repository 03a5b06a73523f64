import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Readable, Stream, Writable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import type { EndReason } from '../contract/run.ts';
import { signalGroup } from './process-identity.ts';

export interface Exit {
  code: number | null;
  signal: string | null;
  /** Why it ended, where its place knows more than that. Code and signal are null where the process itself was never heard of. */
  known?: { reason: EndReason; message: string };
}

/** A started agent: the leader of a process group of its own. */
export interface AgentProcess {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** How the leader ended. Never rejects. */
  exited: Promise<Exit>;
  /** What of its place is weaker than it should be, in words for people. */
  warning?: string;
  readonly exit: Exit | null;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM to the group, `graceMs` later SIGKILL; resolves once the leader is gone. */
  terminate(graceMs: number): Promise<Exit>;
}

/** The program cannot be started: it is not there, or may not be run. */
export class AgentMissing extends Error {
  override readonly name = 'AgentMissing';
}

/** A process group of an agent, whoever has its pipes. */
export interface AgentGroup extends Omit<AgentProcess, 'stdin' | 'stdout' | 'stderr'> {
  child: ChildProcess;
}

/** Starts an agent without a shell, with pipes to it. Errors: {@link AgentMissing}. */
export async function startAgent(
  command: readonly [string, ...string[]],
  options: { cwd: string; env: Record<string, string> },
): Promise<AgentProcess> {
  const group = await spawnGroup(command, { ...options, stdio: ['pipe', 'pipe', 'pipe'] });
  const { stdin, stdout, stderr } = group.child;
  if (stdin === null || stdout === null || stderr === null) throw new Error('The agent was started without its pipes.');
  return {
    stdin,
    stdout,
    stderr,
    exited: group.exited,
    get exit() {
      return group.exit;
    },
    signal: group.signal,
    terminate: group.terminate,
  };
}

/** Starts an agent as the leader of a group (and session) of its own. Errors: {@link AgentMissing}. */
export async function spawnGroup(
  [program, ...args]: readonly [string, ...string[]],
  options: { cwd: string; env: Record<string, string>; stdio: ('pipe' | Stream)[] },
): Promise<AgentGroup> {
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: options.stdio,
  });
  let exit: Exit | null = null;
  const exited = new Promise<Exit>((resolve) => {
    child.once('exit', (code, signal) => {
      exit = { code, signal };
      resolve(exit);
    });
  });
  // An agent may end without reading what it was sent: its exit says so.
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(new AgentMissing(explain(program, error, options), { cause: error }));
    });
  });
  const signal = (name: NodeJS.Signals): void => signalGroup(child.pid, name);
  return {
    child,
    exited,
    get exit() {
      return exit;
    },
    signal,
    terminate: (graceMs) => terminate({ signal, exited }, graceMs),
  };
}

/** SIGTERM, and SIGKILL after `graceMs`. */
export async function terminate(
  { signal, exited }: Pick<AgentProcess, 'signal' | 'exited'>,
  graceMs: number,
): Promise<Exit> {
  signal('SIGTERM');
  const stopped = new AbortController();
  const late = wait(graceMs, undefined, { signal: stopped.signal, ref: false }).then(
    () => signal('SIGKILL'),
    () => undefined,
  );
  const result = await exited;
  stopped.abort();
  await late;
  return result;
}

/** Why a program did not start, in words. The kernel's ENOENT may also mean its interpreter or the folder it was to run in. */
function explain(
  program: string,
  error: NodeJS.ErrnoException,
  { cwd, env }: { cwd: string; env: Record<string, string> },
): string {
  const name = JSON.stringify(program);
  if (error.code === 'EACCES') return `The agent's program ${name} may not be executed.`;
  if (error.code !== 'ENOENT') return `The agent's program ${name} could not be started: ${error.message}`;
  if (!existsSync(cwd)) return `The agent could not be started: its folder ${cwd} is gone.`;
  if (!program.includes('/')) return `The agent's program ${name} was not found on PATH (${env['PATH'] ?? 'not set'}).`;
  return existsSync(program)
    ? `The agent's program ${name} could not be started: what its first line names was not found.`
    : `The agent's program ${name} does not exist.`;
}
