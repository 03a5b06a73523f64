import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '../errors.ts';
import type { TokenBook } from '../flow/tokens.ts';
import { refuse, refuseFor } from './answer.ts';
import { createEgress, type EgressDeps } from './egress.ts';
import { createModelRoute, type Knocker, type ModelDeps, type ModelRoute } from './models.ts';
import { createPodRoutes, type PodHouse, type PodRoutes } from './pod-routes.ts';

/** sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL included. */
const MAX_SOCKET_PATH = 103;

/** How long a request's head may take, from the connection on (ms). Its body is guarded by its route. */
const HEAD_MS = 20_000;

/** Connections from one address: an agent that opens more than any recorder needs is in the way of its own recorder alone. */
const MAX_PER_ADDRESS = 512;

/**
 * The attempt door: the only thing an attempt can reach, on a Unix socket that only this user can open, or in a cluster on a port
 * of its own. Every request carries the token of its attempt, added by the recorder.
 */
export interface AttemptDoor {
  /** Where it listens; null on a Unix socket. */
  readonly port: number | null;
  close(): Promise<void>;
}

export interface DoorDeps<Holder extends Knocker> extends ModelDeps<Holder> {
  /** A Unix socket (see {@link doorSocket}), or an address; port 0 = any free one. */
  listen: { socket: string } | { host: string; port: number };
  tokens: TokenBook<Holder>;
  /** For recorders in pods; without it there is nothing but models. */
  house?: PodHouse<Holder> | undefined;
  /** Which hosts it connects to beside the models'; none where it is left out. */
  egress?: EgressDeps<Holder> | undefined;
  log?: { error(facts: object, message: string): void } | undefined;
}

/**
 * Opens the door. To be called when the tokens of all attempts that outlived the last server are admitted: their recorders
 * knock at once, wait while nobody opens, and take a refusal for final. Errors: port_in_use, invalid_config.
 */
export async function openDoor<Holder extends Knocker>(deps: DoorDeps<Holder>): Promise<AttemptDoor> {
  const { listen } = deps;
  // Whoever holds the data directory's lock owns its socket: one that is left belongs to a dead server.
  if ('socket' in listen) rmSync(listen.socket, { force: true });
  const callModel = createModelRoute(deps);
  const podRoutes = deps.house === undefined ? null : createPodRoutes(deps.house);
  const server = createServer(
    { headersTimeout: HEAD_MS, connectionsCheckingInterval: HEAD_MS / 4 },
    (request, response) => {
      // A connection that breaks is no news to anybody but its own request.
      request.on('error', () => undefined);
      response.on('error', () => undefined);
      handle(request, response, deps, { callModel, podRoutes }).catch((error: unknown) => {
        deps.log?.error({ err: error }, 'a request at the attempt door failed');
        refuseFor(response, error);
      });
    },
  );
  const egress = createEgress(deps.egress ?? { allowed: [], tell: () => undefined });
  server.on('connect', (request, socket, head) => egress.open(request, socket, head, callerOf(request, deps)));
  // A model may think for minutes before it answers, and a recorder's connection may rest between calls.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 60_000;
  boundPerAddress(server);
  await listenOn(server, listen);
  // Out of file descriptors: whoever knocks comes again.
  server.on('error', (error) => deps.log?.error({ err: error }, 'the attempt door'));
  if ('socket' in listen) chmodSync(listen.socket, 0o600);
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : null,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        egress.close();
      }),
  };
}

function boundPerAddress(server: Server): void {
  const counts = new Map<string, number>();
  server.on('connection', (socket) => {
    const address = socket.remoteAddress;
    // On a Unix socket there is but this user.
    if (address === undefined) return;
    counts.set(address, (counts.get(address) ?? 0) + 1);
    socket.once('close', () => {
      const left = (counts.get(address) ?? 1) - 1;
      if (left === 0) counts.delete(address);
      else counts.set(address, left);
    });
    if ((counts.get(address) ?? 0) > MAX_PER_ADDRESS) socket.destroy();
  });
}

async function listenOn(server: Server, listen: { socket: string } | { host: string; port: number }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  if ('socket' in listen) server.listen(listen.socket, resolve);
  else server.listen({ host: listen.host, port: listen.port }, resolve);
  try {
    await promise;
  } catch (error) {
    if ('socket' in listen) throw error;
    const where = `port ${listen.port} on ${listen.host}`;
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
      throw new AppError('port_in_use', `The attempt door cannot have ${where}: another program uses it.`, {
        cause: error,
      });
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new AppError('invalid_config', `The attempt door cannot listen on ${where}: ${why}`, { cause: error });
  } finally {
    server.off('error', reject);
  }
}

async function handle<Holder extends Knocker>(
  request: IncomingMessage,
  response: ServerResponse,
  deps: DoorDeps<Holder>,
  { callModel, podRoutes }: { callModel: ModelRoute<Holder>; podRoutes: PodRoutes<Holder> | null },
): Promise<void> {
  const caller = callerOf(request, deps);
  if (caller === undefined) {
    refuse(response, 403, 'forbidden', 'This token belongs to no attempt that runs.');
    return;
  }
  const url = request.url ?? '/';
  if (url.startsWith('/models/')) {
    await callModel(request, response, caller);
    return;
  }
  if (podRoutes !== null && (await podRoutes(request, response, caller))) return;
  refuse(response, 404, 'not_found', `The attempt door has no ${url.split('?')[0]}.`);
}

function callerOf<Holder extends Knocker>(request: IncomingMessage, deps: DoorDeps<Holder>): Holder | undefined {
  return deps.tokens.find(/^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '');
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
