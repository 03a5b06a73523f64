import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '../errors.ts';
import type { Caller, Gateway, ModelCall } from '../gateway/gateway.ts';
import type { TokenBook } from '../flow/tokens.ts';

/** sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL included. */
const MAX_SOCKET_PATH = 103;

/**
 * The attempt door: the only thing an attempt can reach, on a Unix socket that only this user can open. Every request
 * carries the token of its attempt, added by the recorder.
 */
export interface AttemptDoor {
  close(): Promise<void>;
}

/** Who comes through: a caller of the gateway whose requests are cut when it is stopped. */
export interface Knocker extends Caller {
  stopped: AbortController;
}

export interface DoorDeps<Holder extends Knocker> {
  /** See {@link doorSocket}. */
  socket: string;
  tokens: TokenBook<Holder>;
  gateway: Gateway;
  /** Books a model call before it is made; what comes back settles it. Where it cannot be booked, it is not made. */
  book(caller: Holder): Promise<(call: ModelCall) => void>;
}

/**
 * Opens the door. To be called when the tokens of all attempts that outlived the last server are admitted: their recorders
 * knock at once, wait while nobody opens, and take a refusal for final.
 */
export async function openDoor<Holder extends Knocker>(deps: DoorDeps<Holder>): Promise<AttemptDoor> {
  const { socket } = deps;
  // Whoever holds the data directory's lock owns its socket: one that is left belongs to a dead server.
  rmSync(socket, { force: true });
  const server = createServer((request, response) => {
    handle(request, response, deps).catch((error: unknown) => {
      refuse(response, 500, 'internal', error instanceof Error ? error.message : String(error));
    });
  });
  // A model may think for minutes before it answers, and a recorder's connection may rest between calls.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, () => {
      server.off('error', reject);
      resolve();
    });
  });
  chmodSync(socket, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function handle<Holder extends Knocker>(
  request: IncomingMessage,
  response: ServerResponse,
  deps: DoorDeps<Holder>,
): Promise<void> {
  const caller = deps.tokens.find(/^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '');
  if (caller === undefined) {
    refuse(response, 403, 'forbidden', 'This token belongs to no attempt that runs.');
    return;
  }
  const cut = () => response.destroy();
  caller.stopped.signal.addEventListener('abort', cut);
  response.once('close', () => caller.stopped.signal.removeEventListener('abort', cut));
  const url = request.url ?? '/';
  if (url.startsWith('/models/')) {
    request.url = url.slice('/models'.length);
    delete request.headers.authorization;
    const settle = await deps.book(caller);
    await deps.gateway.handle(request, response, caller, settle);
    return;
  }
  refuse(response, 404, 'not_found', `The attempt door has no ${url.split('?')[0]}.`);
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ error: { type: code, message } }));
}

/**
 * Where the door of a data directory is: it depends on that alone, so that recorders which outlived a server find the next.
 * Errors: data_dir_readonly.
 */
export function doorSocket(dataDir: string): string {
  const direct = join(dataDir, 'door.sock');
  if (Buffer.byteLength(direct) <= MAX_SOCKET_PATH) return direct;
  const folder = join(tmpdir(), `aideator-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`);
  mkdirSync(folder, { mode: 0o700, recursive: true });
  const facts = lstatSync(folder);
  // Somebody else could have made the folder first, to listen in our place.
  if (!facts.isDirectory() || facts.uid !== process.getuid?.() || (facts.mode & 0o077) !== 0) {
    throw new AppError('data_dir_readonly', `${folder} exists and is not a private folder of this user.`, {
      hint: 'Remove it, or use a data directory with a shorter path (--data-dir).',
    });
  }
  const path = join(folder, 'door.sock');
  if (existsSync(path)) rmSync(path);
  return path;
}
