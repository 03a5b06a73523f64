import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { AgentMissing, terminate, type AgentProcess, type Exit } from '../agent-process.ts';
import {
  converseOn,
  fromLauncher,
  readHello,
  type Channel,
  type FromLauncher,
  type Hello,
  type ToLauncher,
} from './control.ts';

export interface LauncherLinkOptions {
  /** Where the launcher connects to. */
  socket: string;
  /** The launcher is told to end: the platform wants the agent's container gone. */
  onTerminating(): void;
  /** Processes that the kernel killed for want of memory, without the agent ending of it. */
  onMemory(count: number): void;
  /** Resolves when the platform says that the agent's container has ended (it tells the recorder to end). */
  containerEnded: Promise<unknown>;
  /** How long an answer may take (ms). */
  answerMs?: number;
}

/** The recorder's end of the launcher: one launcher, and what it starts. */
export interface LauncherLink {
  /** Resolves when the launcher is there with all its connections; the socket is closed to anybody else from then on. */
  ready: Promise<void>;
  /** Whether it is there and has run its agent already. */
  readonly spent: boolean;
  /** Errors: {@link AgentMissing}. */
  start(command: readonly string[], options: { cwd: string; env: Record<string, string> }): Promise<AgentProcess>;
  /** Kills everything of the agent; how many processes, null where that cannot be known. */
  kill(): Promise<number | null>;
  /** Lets the launcher end with this code, now or when it comes; resolves when it is gone, or after `withinMs`. */
  dismiss(code: 0 | 1, withinMs: number): Promise<void>;
  /** Takes no launcher any more. */
  close(): void;
}

const NOT_APART =
  'This node’s kernel does not keep the agent from tracing its launcher (it has Landlock before Linux 5.19, and kernel.yama.ptrace_scope is 0): that nothing of the agent runs when its work is taken is its own word.';
const HELLO_MS = 10_000;
const WHOLE: Exit = {
  code: null,
  signal: null,
  known: {
    reason: 'agent_exit',
    message: 'The agent’s container ended as a whole, and from inside the pod nobody can say why.',
  },
};

/** Listens for the launcher. Errors: of the socket. */
export async function openLauncherLink(options: LauncherLinkOptions): Promise<LauncherLink> {
  const answerMs = options.answerMs ?? 15_000;
  const sockets = new Map<Channel, Socket>();
  const ready = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<void>();
  const exited = Promise.withResolvers<Exit>();
  const waiting = new Map<number, (count: number | null) => void>();
  let facts: Extract<Hello, { channel: 'control' }> | null = null;
  let complete = false;
  let exit: Exit | null = null;
  let isGone = false;
  let begun = false;
  let dismissed: 0 | 1 | null = null;
  let killed = 0;
  let channel: { send(message: ToLauncher): void } = { send: () => undefined };
  let onStarted: (message: Extract<FromLauncher, { type: 'started' | 'missing' }> | null) => void = () => undefined;

  function take(message: FromLauncher): void {
    switch (message.type) {
      case 'started':
      case 'missing':
        onStarted(message);
        return;
      case 'exit':
        if (exit !== null) return;
        exit = exitOf(message, facts?.memory_limit ?? null);
        if (message.oom_kills > 0 && exit.known === undefined) options.onMemory(message.oom_kills);
        exited.resolve(exit);
        return;
      case 'killed':
        waiting.get(message.id)?.(message.count);
        return;
      case 'terminating':
        options.onTerminating();
        return;
      default:
        message satisfies never;
    }
  }

  function end(): void {
    isGone = true;
    exit ??= WHOLE;
    exited.resolve(exit);
    onStarted(null);
    for (const answer of waiting.values()) answer(null);
    gone.resolve();
  }

  /** It does not do what a launcher does: it is treated as gone. */
  function breakOff(): void {
    for (const socket of sockets.values()) socket.destroy();
  }

  const server = createServer((socket) => {
    readHello(socket, HELLO_MS).then(
      (said) => {
        if (said === null || complete || sockets.has(said.channel)) {
          socket.destroy();
          return;
        }
        sockets.set(said.channel, socket);
        socket.once('close', () => {
          // It went before all were there: it will come again.
          if (!complete && sockets.get(said.channel) === socket) sockets.delete(said.channel);
        });
        if (said.channel === 'control') facts = said;
        if (sockets.size === 4 || (sockets.has('control') && facts?.spent === true)) begin();
      },
      () => socket.destroy(),
    );
  });

  function begin(): void {
    const control = sockets.get('control');
    if (control === undefined) return;
    complete = true;
    server.close();
    channel = converseOn(control, fromLauncher, {
      onMessage: take,
      onBroken: () => undefined,
      onClose: end,
    });
    control.resume();
    if (dismissed !== null) channel.send({ type: 'dismiss', code: dismissed });
    ready.resolve();
  }

  // One that is left belonged to a recorder that died.
  rmSync(options.socket, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.socket, resolve);
  });
  chmodSync(options.socket, 0o600);
  server.unref();

  return {
    ready: ready.promise,
    get spent() {
      return facts?.spent ?? false;
    },
    start: async (command, { cwd, env }) => {
      const [stdin, stdout, stderr] = [sockets.get('stdin'), sockets.get('stdout'), sockets.get('stderr')];
      if (stdin === undefined || stdout === undefined || stderr === undefined || isGone || begun)
        throw new AgentMissing('The agent’s container has ended, or has run its agent already.');
      begun = true;
      const answer = await new Promise<Parameters<typeof onStarted>[0]>((resolve) => {
        onStarted = resolve;
        channel.send({ type: 'start', command: [...command], cwd, env });
        setTimeout(() => resolve(null), answerMs).unref();
      });
      if (answer?.type === 'missing') throw new AgentMissing(answer.message);
      if (answer === null && !isGone) breakOff();
      const group = {
        exited: exited.promise,
        signal: (signal: NodeJS.Signals): void => {
          if (signal === 'SIGTERM' || signal === 'SIGKILL' || signal === 'SIGINT')
            channel.send({ type: 'signal', signal });
        },
      };
      return {
        ...group,
        ...(answer?.type === 'started' && !answer.apart ? { warning: NOT_APART } : {}),
        stdin,
        stdout,
        stderr,
        get exit() {
          return exit;
        },
        terminate: (graceMs) => {
          // A launcher that cannot say that the agent ended has been tampered with.
          const late = setTimeout(breakOff, graceMs + answerMs);
          return terminate(group, graceMs).finally(() => clearTimeout(late));
        },
      };
    },
    kill: async () => {
      if (!complete) return 0;
      const id = (killed += 1);
      if (!isGone) {
        const answer = await new Promise<number | null>((resolve) => {
          waiting.set(id, resolve);
          channel.send({ type: 'kill', id });
          setTimeout(() => resolve(null), answerMs).unref();
        });
        waiting.delete(id);
        if (answer !== null) return answer;
        breakOff();
      }
      // Nobody answers. With the container everything in it has ended, and the platform tells us to end then.
      return Promise.race([options.containerEnded.then(() => 0), wait(answerMs, null, { ref: false })]);
    },
    dismiss: async (code, withinMs) => {
      dismissed = code;
      if (complete) channel.send({ type: 'dismiss', code });
      await Promise.race([gone.promise, wait(withinMs)]);
    },
    close: () => {
      server.close();
      breakOff();
    },
  };
}

function exitOf({ code, signal, oom_kills }: Extract<FromLauncher, { type: 'exit' }>, limit: number | null): Exit {
  // 137: a shell's word for a child that died of SIGKILL.
  if (oom_kills === 0 || (signal !== 'SIGKILL' && code !== 137)) return { code, signal };
  const allowed = limit === null ? '' : ` (its limit is ${limit} bytes)`;
  const message = `The agent was killed because its container needed more memory than it may have${allowed}.`;
  return { code, signal, known: { reason: 'oom_killed', message } };
}
