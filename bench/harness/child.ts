import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

/** A process of the bench, as the one that started it sees it. The other side is `serve.ts`. */
export interface Child<Api> {
  readonly pid: number;
  /** Rejects with what the handler threw, and where the process ended. */
  call<Name extends keyof Api & string>(name: Name, ...input: InputOf<Api[Name]>): Promise<AnswerOf<Api[Name]>>;
  /** Ends it in order; what does not end is killed. Idempotent. */
  close(): Promise<void>;
}

type InputOf<Handler> = Handler extends (...input: infer Input) => unknown ? Input : never;
type AnswerOf<Handler> = Handler extends (...input: never) => infer Answer ? Awaited<Answer> : never;

/** What goes over the channel. */
export interface Request {
  no: number;
  name: string;
  input: unknown[];
}
export type Answer = { no: number; value: unknown } | { no: number; error: string };

export interface ChildOptions {
  core?: 0 | 1 | undefined;
  /** Where its CPU profile goes when it ends. */
  profileDir?: string | undefined;
}

const CLOSE_MS = 10_000;

/** Starts a file of the bench; resolves when it is ready to be called. */
export async function startChild<Api>(file: URL, options: ChildOptions = {}): Promise<Child<Api>> {
  const node = [
    ...(options.profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profileDir}`]),
    fileURLToPath(file),
  ];
  const pin = options.core !== undefined && canPin() ? ['taskset', '-c', String(options.core)] : [];
  const [program = process.execPath, ...args] = [...pin, process.execPath, ...node];
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced' });
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let calls = 0;
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  let isOver = false;
  const fail = (error: Error) => {
    isOver = true;
    ready.reject(error);
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    ended.resolve();
  };
  child.once('error', fail);
  child.once('exit', (code, signal) => fail(new Error(`${file.pathname} ended (${signal ?? code})`)));
  child.on('message', (message) => {
    if (message === 'ready') return ready.resolve();
    const answer = message as Answer;
    const call = waiting.get(answer.no);
    waiting.delete(answer.no);
    if ('error' in answer) call?.reject(new Error(answer.error));
    else call?.resolve(answer.value);
  });
  await ready.promise;

  return {
    pid: child.pid ?? 0,
    call: async (name, ...input) => {
      if (isOver) throw new Error(`${file.pathname} has ended`);
      calls += 1;
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      waiting.set(calls, { resolve, reject });
      child.send({ no: calls, name, input } satisfies Request);
      return (await promise) as AnswerOf<Api[typeof name]>;
    },
    close: async () => {
      if (isOver) return;
      if (child.connected) child.disconnect();
      const timer = setTimeout(() => child.kill('SIGKILL'), CLOSE_MS);
      await ended.promise;
      clearTimeout(timer);
    },
  };
}

/** Whether server and load can have a core each. */
export function canPin(): boolean {
  return (pinnable ??= availableParallelism() >= 2 && spawnSync('taskset', ['-c', '0,1', 'true']).status === 0);
}
let pinnable: boolean | undefined;
