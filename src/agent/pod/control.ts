import type { Socket } from 'node:net';
import { z } from 'zod';
import { createLineSplitter } from '../line-splitter.ts';

/**
 * What recorder and launcher say to each other, a JSON object a line, over the launcher's four connections to the recorder's socket.
 * Each connection begins with a hello that says which it is; control goes on with messages, the others belong to the agent from
 * then on.
 */

export const hello = z.discriminatedUnion('channel', [
  z.strictObject({
    channel: z.literal('control'),
    /** Whether it has started an agent already: it starts one only, and comes back only to be dismissed. */
    spent: z.boolean(),
    /** Bytes that its container may use; null = unknown, or no limit. */
    memory_limit: z.number().nullable(),
  }),
  z.strictObject({ channel: z.enum(['stdin', 'stdout', 'stderr']) }),
]);
export type Hello = z.infer<typeof hello>;
export type Channel = Hello['channel'];

export const fromLauncher = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('started'),
    /** Whether the agent is kept from tracing the launcher. One that is older does not say. */
    apart: z.boolean().default(false),
  }),
  z.strictObject({ type: z.literal('missing'), message: z.string().max(16_384) }),
  z.strictObject({
    type: z.literal('exit'),
    code: z.int().nullable(),
    signal: z
      .string()
      .regex(/^SIG[A-Z0-9]{1,20}$/)
      .nullable(),
    /** Processes of the container that the kernel killed for want of memory while the agent ran. */
    oom_kills: z.int().min(0),
  }),
  z.strictObject({ type: z.literal('killed'), id: z.int(), count: z.int().min(0) }),
  /** The platform wants the container to end. */
  z.strictObject({ type: z.literal('terminating') }),
]);
export type FromLauncher = z.infer<typeof fromLauncher>;

export const toLauncher = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('start'),
    /** `{node}` and `{builtin}` are the launcher's own. */
    command: z.array(z.string()).min(1),
    cwd: z.string(),
    /** Laid over what the container has. */
    env: z.record(z.string(), z.string()),
  }),
  z.strictObject({ type: z.literal('signal'), signal: z.enum(['SIGTERM', 'SIGKILL', 'SIGINT']) }),
  /** Everything of the agent, wherever it went. Answered when nothing is left. */
  z.strictObject({ type: z.literal('kill'), id: z.int() }),
  z.strictObject({ type: z.literal('dismiss'), code: z.int().min(0).max(1) }),
]);
export type ToLauncher = z.infer<typeof toLauncher>;

/** Of a line: an agent's environment is the longest that is said. Bytes. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/**
 * Reads messages from a connection and writes to it. What is no message breaks it: `onBroken` is told, and the connection is gone.
 * `onClose` comes once, last.
 */
export function converseOn<IN>(
  socket: Socket,
  schema: z.ZodType<IN>,
  handlers: { onMessage(message: IN): void; onBroken(why: string): void; onClose(): void },
): { send(message: object): void } {
  const broken = (why: string): void => {
    handlers.onBroken(why);
    socket.destroy();
  };
  const lines = createLineSplitter({
    maxBytes: MAX_MESSAGE_BYTES,
    keepBytes: 0,
    onLine: (line) => {
      if (socket.destroyed) return;
      const message = schema.safeParse(parse(line));
      if (message.success) handlers.onMessage(message.data);
      else broken('a message that is none');
    },
    onCut: () => broken('a message that is too long'),
  });
  socket.on('data', lines.push);
  socket.on('error', () => undefined);
  socket.once('close', handlers.onClose);
  return {
    send: (message) => {
      if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
    },
  };
}

/** The first line of a connection; null where none comes in time or it is no hello. What follows it stays in the socket. */
export function readHello(socket: Socket, withinMs: number): Promise<Hello | null> {
  return new Promise((resolve) => {
    let head = Buffer.alloc(0);
    const done = (said: Hello | null): void => {
      clearTimeout(timer);
      socket.off('data', take);
      socket.pause();
      resolve(said);
    };
    const take = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf(10);
      if (end === -1 && head.length < 1024) return;
      const said = hello.safeParse(parse(head.subarray(0, Math.max(end, 0))));
      done(said.data ?? null);
      if (end !== -1 && end + 1 < head.length) socket.unshift(head.subarray(end + 1));
    };
    const timer = setTimeout(() => done(null), withinMs);
    socket.on('data', take);
    socket.on('error', () => undefined);
    socket.once('close', () => done(null));
  });
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'));
  } catch {
    return undefined;
  }
}
