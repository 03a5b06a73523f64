import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { claimedAttempt, type ClaimedAttempt, type ClaimRequest } from '../../contract/attempt-door.ts';
import { UnreadAttempt } from './unread.ts';

/** The attempt door over HTTP(S), for one attempt. */
export interface DoorClient {
  /** Without a trailing slash. */
  url: string;
  /** Aborted when the door said that the attempt is over for the server: nothing more is wanted. */
  over: AbortSignal;
  /** One request and its whole answer. Rejects where none came (`timeoutMs` without a byte in either direction is none). */
  ask(method: string, path: string, options?: AskOptions): Promise<{ status: number; body: Buffer }>;
  /** An answer that goes on; its head only. */
  open(path: string, signal: AbortSignal): Promise<IncomingMessage>;
  close(): void;
}

export interface AskOptions {
  body?: Buffer | (() => Readable);
  type?: string;
  bytes?: number;
  signal?: AbortSignal | undefined;
}

/** The door's own words for a refusal; what stands between (a mesh, a proxy) says 403 in other words, and may change its mind. */
const refusal = z.object({ error: z.object({ type: z.string(), message: z.string().default('') }) });
/** Longest answer that is kept. Bytes. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

export function createDoorClient(options: { url: string; token: string; timeoutMs?: number }): DoorClient {
  const { token, timeoutMs = 30_000 } = options;
  const base = options.url.replace(/\/+$/, '');
  const secure = base.startsWith('https:');
  const agent = secure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  const over = new AbortController();

  function send(method: string, path: string, { body, type, bytes, signal }: AskOptions): Promise<IncomingMessage> {
    const length = body instanceof Uint8Array ? body.length : bytes;
    const headers: Record<string, string> = {
      authorization: `Bearer ${token}`,
      ...(type === undefined ? {} : { 'content-type': type }),
      ...(length === undefined ? {} : { 'content-length': String(length) }),
    };
    return new Promise((resolve, reject) => {
      const request = (secure ? httpsRequest : httpRequest)(`${base}${path}`, {
        method,
        headers,
        agent,
        ...(signal === undefined ? {} : { signal }),
        // Of silence: a connection whose other end is gone without a word is seen by it.
        timeout: timeoutMs,
      });
      request.once('timeout', () => request.destroy(new Error(`no byte for ${timeoutMs} ms`)));
      request.once('response', resolve);
      request.on('error', reject);
      if (typeof body === 'function') pipeline(body(), request).catch(reject);
      else request.end(body);
    });
  }

  async function refused(status: number, body: Buffer): Promise<void> {
    if (status !== 403) return;
    const said = refusal.safeParse(parse(body));
    if (said.success && !over.signal.aborted) over.abort(new Error(said.data.error.message));
  }

  return {
    url: base,
    over: over.signal,
    ask: async (method, path, more = {}) => {
      const answer = await send(method, path, more);
      const body = await readAll(answer);
      const status = answer.statusCode ?? 0;
      await refused(status, body);
      return { status, body };
    },
    open: async (path, signal) => {
      const answer = await send('GET', path, { signal });
      if (answer.statusCode === 200) {
        // It may rest: whoever reads it knows how long.
        answer.socket.setTimeout(0);
        return answer;
      }
      await refused(answer.statusCode ?? 0, await readAll(answer));
      throw new Error(`the door answered ${answer.statusCode}`);
    },
    close: () => agent.destroy(),
  };
}

/** What a claim was answered: the attempt, or why this pod is not to run it. */
export type Claim = { attempt: ClaimedAttempt } | { refused: string };

/**
 * Claims the attempt for this pod, and asks again while nobody answers. Errors: {@link UnreadAttempt}; what the last try failed of,
 * when `patienceMs` are over; the signal's reason.
 *
 * @param say told, in words, when it has to wait
 */
export async function claimAttempt(
  door: DoorClient,
  claim: ClaimRequest,
  options: { patienceMs: number; signal: AbortSignal; say(words: string): void },
): Promise<Claim> {
  const until = performance.now() + options.patienceMs;
  const body = Buffer.from(JSON.stringify(claim));
  let said = '';
  for (let pause = 100; ; pause = Math.min(pause * 2, 5000)) {
    let why: string;
    try {
      const answer = await door.ask('POST', '/attempt/claim', {
        body,
        type: 'application/json',
        signal: options.signal,
      });
      if (answer.status === 200) return { attempt: claimedAttempt.parse(parse(answer.body)) };
      if (answer.status === 409 || door.over.aborted) return { refused: wordsOf(answer) };
      why = `it answered ${wordsOf(answer)}`;
    } catch (error) {
      options.signal.throwIfAborted();
      if (error instanceof z.ZodError) throw new UnreadAttempt(unreadWords(error), { cause: error });
      why = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() >= until) throw new Error(`The attempt could not be claimed: ${why}`);
    if (why !== said) options.say(`The attempt door cannot be reached yet: ${why}`);
    said = why;
    await wait(pause, undefined, { signal: options.signal });
  }
}

/** What of an attempt is not understood: names and kinds, no values. */
function unreadWords({ issues }: z.ZodError): string {
  const what = issues.map(({ path, message }) => [path.join('.'), message].filter(Boolean).join(': ')).join('; ');
  return `The recorder does not understand what the server wants of it: its image and the server are of two versions (${what.slice(0, 500)}).`;
}

/** Status and message of a refusal. */
export function wordsOf({ status, body }: { status: number; body: Buffer }): string {
  const said = refusal.safeParse(parse(body));
  return said.success ? `${status} ${said.data.error.type}: ${said.data.error.message}` : String(status);
}

/** A body as JSON; undefined where it is none. */
export function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

async function readAll(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer) {
    bytes += (chunk as Buffer).length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
