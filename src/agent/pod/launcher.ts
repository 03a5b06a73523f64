import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { AgentMissing, spawnGroup, type AgentGroup } from '../agent-process.ts';
import { agentCommand } from '../child-env.ts';
import { ATTEMPT_VARIABLE, killStragglers } from '../process-identity.ts';
import { isThere, type WayApart } from './apart.ts';
import { converseOn, toLauncher, type FromLauncher, type Hello, type ToLauncher } from './control.ts';
import { killEverything } from './everything.ts';
import { readMemoryLimit, readOomKills } from './memory.ts';

export interface LauncherOptions {
  /** The recorder's socket. */
  socket: string;
  /** Where the cgroup's files are. */
  cgroup: string;
  /** All of its environment; the agent's starts from it. */
  env: Record<string, string | undefined>;
  /** The Node binary for agents that are JavaScript. */
  node: string;
  /** Whether all other processes are the agent's, see `ownsItsProcesses`. */
  alone: boolean;
  /** How the agent is started apart from the launcher; null where there is no way. */
  apart: Promise<WayApart | null>;
  /** Whether the kernel keeps it from tracing the launcher all the same. */
  isTracingRestricted: boolean;
  /** Aborted when the platform wants the container to end. */
  terminating: AbortSignal;
  say(words: string): void;
  /** How long a recorder is waited for, the first and one that comes after a crash (ms). */
  patienceMs?: number;
  returnMs?: number;
}

/**
 * The agent container's own process. It starts the agent when the recorder says so, hands it the connections to the recorder as its
 * standard streams (from there on no byte of the agent passes through here), kills what is to be killed, tells what ended, and stays
 * until it is dismissed: as long as it stays, the container does.
 *
 * @returns its exit code: the one it was dismissed with, 1 where the recorder is gone or never came
 */
export async function runLauncher(options: LauncherOptions): Promise<number> {
  const { terminating, say } = options;
  const patienceMs = options.patienceMs ?? 300_000;
  let spent = false;
  for (let first = true; ; first = false) {
    const within = first ? patienceMs : (options.returnMs ?? 120_000);
    const links = await reach(options, spent, within);
    if (links === null) {
      say(
        terminating.aborted
          ? 'Told to end, and there is no recorder that could be asked.'
          : `No recorder took a connection on ${options.socket} for ${Math.round(within / 1000)} s.`,
      );
      return 1;
    }
    const served = await serve(options, links);
    if (served.dismissed !== null) return served.dismissed;
    spent ||= served.started;
    // Nobody watches the agent any more. A recorder that crashed comes back, for what is left.
    say(`The recorder is gone${served.broken === null ? '' : `: it sent ${served.broken}`}.`);
    if (terminating.aborted) return 1;
  }
}

interface Links {
  control: Socket;
  /** The agent's standard streams; none where it had its agent. */
  streams: Socket[];
}

/** Connects; null where nobody is there in time, or it is told to end meanwhile. */
async function reach(options: LauncherOptions, spent: boolean, withinMs: number): Promise<Links | null> {
  const until = performance.now() + withinMs;
  for (let pause = 10; !options.terminating.aborted; pause = Math.min(pause * 1.2, 250)) {
    const sockets: Socket[] = [];
    const open = async (say: Hello): Promise<Socket> => {
      const socket = await connectTo(options.socket);
      sockets.push(socket);
      await new Promise<void>((resolve) => socket.write(`${JSON.stringify(say)}\n`, () => resolve()));
      return socket;
    };
    try {
      const control = await open({ channel: 'control', spent, memory_limit: readMemoryLimit(options.cgroup) });
      const streams: Socket[] = [];
      if (!spent) for (const channel of ['stdin', 'stdout', 'stderr'] as const) streams.push(await open({ channel }));
      return { control, streams };
    } catch {
      for (const socket of sockets) socket.destroy();
    }
    if (performance.now() >= until) break;
    await wait(pause, undefined, { signal: options.terminating }).catch(() => undefined);
  }
  return null;
}

/** Nothing is read from it before somebody wants to: what is sent on it is the agent's. */
function connectTo(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.pause();
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => undefined);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

interface Served {
  dismissed: number | null;
  started: boolean;
  /** What the recorder sent that was no message. */
  broken: string | null;
}

/** Does what the recorder says, until it dismisses us or is gone. Nothing of the agent is left then. */
async function serve(options: LauncherOptions, { control, streams }: Links): Promise<Served> {
  const served: Served = { dismissed: null, started: false, broken: null };
  let group: AgentGroup | null = null;
  let attempt = '';

  async function killAll(): Promise<number> {
    group?.signal('SIGKILL');
    if (options.alone) return killEverything();
    return attempt === '' ? 0 : killStragglers(attempt);
  }

  async function start(message: Extract<ToLauncher, { type: 'start' }>): Promise<void> {
    if (served.started || streams.length === 0) return;
    served.started = true;
    attempt = message.env[ATTEMPT_VARIABLE] ?? '';
    const before = readOomKills(options.cgroup);
    try {
      const where = { cwd: message.cwd, env: { ...ownEnvironment(options.env), ...message.env } };
      const command = agentCommand(message.command, options.node);
      const apart = await options.apart;
      const started = await spawnGroup(apart !== null && isThere(command[0], where) ? apart.wrap(command) : command, {
        ...where,
        stdio: streams,
      });
      group = started;
      tell({ type: 'started', apart: apart !== null || options.isTracingRestricted });
      started.exited.then(
        ({ code, signal }) => {
          const oomKills = Math.max(0, readOomKills(options.cgroup) - before);
          tell({ type: 'exit', code, signal, oom_kills: oomKills });
        },
        () => undefined,
      );
    } catch (error) {
      if (!(error instanceof AgentMissing)) options.say(String(error));
      tell({ type: 'missing', message: error instanceof Error ? error.message : String(error) });
    }
    // The agent has them, or nobody will: their end has to be seen at the other end.
    for (const stream of streams) stream.destroy();
  }

  function take(message: ToLauncher): void {
    switch (message.type) {
      case 'start':
        start(message).catch((error: unknown) => tell({ type: 'missing', message: String(error) }));
        return;
      case 'signal':
        group?.signal(message.signal);
        return;
      case 'kill':
        killAll().then(
          (count) => tell({ type: 'killed', id: message.id, count }),
          (error: unknown) => options.say(String(error)),
        );
        return;
      case 'dismiss':
        served.dismissed = message.code;
        control.destroy();
        return;
      default:
        message satisfies never;
    }
  }

  const closed = Promise.withResolvers<void>();
  const channel = converseOn(control, toLauncher, {
    onMessage: take,
    onBroken: (why) => {
      served.broken = why;
    },
    onClose: closed.resolve,
  });
  const tell = (message: FromLauncher): void => channel.send(message);
  const onTerminating = (): void => tell({ type: 'terminating' });
  options.terminating.addEventListener('abort', onTerminating);
  if (options.terminating.aborted) onTerminating();
  control.resume();
  await closed.promise;
  options.terminating.removeEventListener('abort', onTerminating);
  for (const stream of streams) stream.destroy();
  await killAll().catch((error: unknown) => options.say(String(error)));
  return served;
}

/** What an agent gets of the container's environment: its image's words, nothing of ours and nothing of the cluster's. */
export function ownEnvironment(env: Record<string, string | undefined>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !/^(?:AIDEATOR_|KUBERNETES_)/.test(name)) kept[name] = value;
  }
  return kept;
}
