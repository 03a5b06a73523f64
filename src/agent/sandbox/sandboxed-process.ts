import type { Duplex, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { AgentMissing, spawnGroup, terminate, type AgentProcess, type Exit } from '../agent-process.ts';
import { startTimeOf } from '../process-identity.ts';
import type { Group } from './cgroup.ts';
import { readReports, type Report } from './report.ts';

export interface SandboxedProcess extends AgentProcess {
  /**
   * Kills all of it. How many processes the agent had left running outside its own group, told once; null where something of it could
   * not be killed.
   */
  killAll(): Promise<number | null>;
}

export interface SandboxedOptions {
  /** What makes the sandbox and starts the init in it: bubblewrap with its arguments, {@link FDS} among them. */
  command: readonly [string, ...string[]];
  env: Record<string, string>;
  filter: Buffer;
  /** The group that the command puts itself in; removed when nothing runs any more. */
  group: Group | null;
  /** Words for an end by want of memory. */
  outOfMemory: string;
  /** Why the agent's program could not be started, from the system's word for it. */
  explain(code: string): string;
}

/** Descriptors that the sandbox's maker and its init find open. 3 is the init's. */
export const FDS = { info: 4, seccomp: 5 } as const;

/** What bubblewrap says on its `--info-fd`. */
const info = z.object({ 'child-pid': z.int().min(2) });

/** From a kill that is asked of the init until the whole sandbox is killed (ms). */
const HARD_KILL_MS = 500;
/** How long the kernel may take to end what was killed (ms). */
const GONE_MS = 10_000;
/** Between two looks at the memory (ms). */
const MEMORY_MS = 250;

/** Starts an agent in a sandbox. Errors: {@link AgentMissing}, also where the sandbox could not be made. */
export async function startInSandbox(options: SandboxedOptions): Promise<SandboxedProcess> {
  const made = await spawnGroup(options.command, {
    // Nobody's: bubblewrap goes to the workspace inside.
    cwd: '/',
    env: options.env,
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  // What each is follows from `stdio` above; Node types only the first three so.
  const [stdin, stdout, stderr, control, told, filter] = made.child.stdio as unknown as [
    Duplex,
    Readable,
    Readable,
    Duplex,
    Readable,
    Duplex,
  ];
  for (const each of [told, filter]) each.on('error', () => undefined);
  filter.end(options.filter);

  let end: Extract<Report, { left: number }> | null = null;
  let left: number | null = null;
  let isBegun = false;
  const begun = Promise.withResolvers<Exclude<Report, { left: number }> | null>();
  readReports(control, (report) => {
    if ('left' in report) {
      end ??= report;
      left ??= report.left;
    } else {
      isBegun ||= 'started' in report;
      begun.resolve(report);
    }
  });
  const first = firstProcess(told);
  let lastWords = Promise.resolve('');
  // At once: Node lets go of what nobody has begun to read when a process ends.
  made.child.once('exit', () => {
    if (!isBegun) lastWords = text(stderr).catch(() => '');
  });

  let oomKills = 0;
  const memory = setInterval(() => {
    oomKills = options.group?.oomKills() ?? 0;
    if (oomKills > 0) hardKill();
  }, MEMORY_MS);
  memory.unref();

  function hardKill(): void {
    made.signal('SIGKILL');
    first.kill();
  }

  let exit: Exit | null = null;
  let isGone = true;
  const exited = (async (): Promise<Exit> => {
    const outer = await made.exited;
    begun.resolve(null);
    isGone = await first.gone();
    clearInterval(memory);
    oomKills = options.group?.oomKills() ?? 0;
    if (isGone) await options.group?.remove();
    control.destroy();
    exit = exitOf(outer, end);
    if (oomKills > 0) exit.known = { reason: 'oom_killed', message: options.outOfMemory };
    return exit;
  })();

  const signal = (name: NodeJS.Signals): void => {
    if (exit !== null) return;
    if (control.writable) control.write(`${name}\n`);
    if (name === 'SIGKILL') setTimeout(hardKill, HARD_KILL_MS).unref();
  };

  const begin = await begun.promise;
  if (begin === null || !('started' in begin)) {
    hardKill();
    await exited;
    const said = (await Promise.race([lastWords, wait(1000, '')])).trim();
    if (begin !== null && 'missing' in begin) throw new AgentMissing(options.explain(begin.missing));
    const why = begin === null ? said : begin.failed;
    throw new AgentMissing(
      `The agent could not be started, because its sandbox could not be made: ${why || 'no reason was given'}`,
    );
  }
  return {
    stdin,
    stdout,
    stderr,
    exited,
    get exit() {
      return exit;
    },
    signal,
    terminate: (graceMs) => terminate({ signal, exited }, graceMs),
    killAll: async () => {
      signal('SIGKILL');
      await exited;
      if (!isGone) return null;
      const count = left ?? 0;
      left = 0;
      return count;
    },
  };
}

/** The first process of the sandbox: with it ends everything in its process namespace, and only after all of that is it gone itself. */
function firstProcess(told: Readable): { kill(): void; gone(): Promise<boolean> } {
  let known: { pid: number; startTime: string | null } | null = null;
  const read = text(told).then(
    (said) => {
      const { 'child-pid': pid } = info.parse(JSON.parse(said));
      known = { pid, startTime: startTimeOf(pid) };
    },
    // It ended before it had made anything.
    () => undefined,
  );
  read.catch(() => undefined);
  const runs = (): boolean => known !== null && known.startTime !== null && startTimeOf(known.pid) === known.startTime;
  return {
    kill: () => {
      if (known === null || !runs()) return;
      try {
        process.kill(known.pid, 'SIGKILL');
      } catch {
        // Gone in between.
      }
    },
    gone: async () => {
      await Promise.race([read.catch(() => undefined), wait(1000)]);
      for (const until = Date.now() + GONE_MS; runs(); await wait(2)) if (Date.now() > until) return false;
      return true;
    },
  };
}

/** The agent's own exit as its init told it; else what is known of the sandbox as a whole: 128 and a signal's number, as shells have it. */
function exitOf(outer: Exit, end: { code: number | null; signal: string | null } | null): Exit {
  if (end !== null) return { code: end.code, signal: end.signal };
  if (outer.code === 137 || outer.signal !== null) return { code: null, signal: 'SIGKILL' };
  return { ...outer };
}
