import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import type { Caller, DoorDeps, DoorEnv, Scope } from './door.ts';

/** Who may do what. Read < run < admin. */
const RANK: Record<Scope, number> = { read: 0, run: 1, admin: 2 };

/** Paths that need no key anywhere: probes of a load balancer, and what is the same for everybody. */
const OPEN = /^\/(healthz|readyz|openapi\.json|docs(\/.*)?)?$/;

const LOOPBACK_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Whether an address to listen on can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** The scope a request needs: keys and installing agents are an admin's, reading is reading, all else changes something. */
export function neededScope(method: string, path: string): Scope {
  if (/^\/api\/v1\/keys(\/|$)/.test(path)) return 'admin';
  if (method === 'GET' || method === 'HEAD') return 'read';
  // What is changed of agents is what programs there are on the server's machine.
  return /^\/api\/v1\/agents(\/|$)/.test(path) ? 'admin' : 'run';
}

/**
 * Refuses what may not pass, and says who it is otherwise.
 *
 * On loopback everybody on the machine may do everything, so a browser is the danger: a page from elsewhere that sends
 * requests here (Origin, Sec-Fetch-Site), or that lets its own name point here and then reads the answers (Host).
 * Beyond loopback every request carries a key, which a page elsewhere does not have.
 */
export function guard({ keys, host: address, allowedHosts }: Pick<DoorDeps, 'keys' | 'host' | 'allowedHosts'>) {
  const listensOnLoopback = isLoopback(address);
  const extra: ReadonlySet<string> = new Set(allowedHosts.map((host) => host.toLowerCase()));

  async function identify(path: string, authorization: string | undefined): Promise<Caller> {
    if (OPEN.test(path)) return { id: 'anonymous', scope: 'read' };
    if (authorization !== undefined) {
      const key = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
      const caller = key === undefined ? null : await keys.verify(key);
      if (caller !== null) return caller;
      throw new AppError('unauthorized', 'The API key is not valid, or was revoked.', {
        hint: 'Send `Authorization: Bearer aid_…`; `aideator keys create` makes a new key.',
      });
    }
    if (listensOnLoopback) return { id: 'local', scope: 'admin' };
    throw new AppError('unauthorized', 'This server wants an API key.', {
      hint: 'Send `Authorization: Bearer aid_…`; `aideator keys create` makes one.',
    });
  }

  return createMiddleware<DoorEnv>(async (c, next) => {
    if (listensOnLoopback) {
      const host = c.req.header('host');
      refuseForeignHost(host, extra);
      refuseForeignOrigin(c.req.method, host, (name) => c.req.header(name), extra);
    }
    const caller = await identify(c.req.path, c.req.header('authorization'));
    const needed = neededScope(c.req.method, c.req.path);
    if (caller.id !== 'anonymous' && RANK[caller.scope] < RANK[needed]) {
      throw new AppError(
        'forbidden',
        `This needs a key of scope \`${needed}\`; the one presented has \`${caller.scope}\`.`,
        {
          hint: `\`aideator keys create --scope ${needed}\` makes one.`,
        },
      );
    }
    c.set('caller', caller);
    await next();
  });
}

function refuseForeignHost(host: string | undefined, extra: ReadonlySet<string>): void {
  // HTTP/1.0 may leave it out; a browser never does.
  if (host === undefined) return;
  const name = hostName(host);
  if (LOOPBACK_NAMES.has(name) || extra.has(name)) return;
  throw new AppError('origin_refused', `This server does not answer to the name ${JSON.stringify(host)}.`, {
    hint: 'Use localhost or 127.0.0.1, or add the name to `allowed_hosts` in the configuration.',
  });
}

function refuseForeignOrigin(
  method: string,
  host: string | undefined,
  header: (name: string) => string | undefined,
  extra: ReadonlySet<string>,
): void {
  const origin = header('origin');
  if (origin !== undefined) {
    const authority = /^https?:\/\/([^/]+)$/.exec(origin.toLowerCase())?.[1];
    if (authority !== undefined && (authority === host?.toLowerCase() || extra.has(hostName(authority)))) return;
    throw refusedOrigin(origin);
  }
  const site = header('sec-fetch-site');
  if (site === undefined || site === 'same-origin' || site === 'none') return;
  // A link that is followed in a tab of its own changes nothing and tells the other page nothing.
  const isLink = method === 'GET' && header('sec-fetch-mode') === 'navigate' && header('sec-fetch-dest') === 'document';
  if (!isLink) throw refusedOrigin(site);
}

function refusedOrigin(from: string): AppError {
  return new AppError(
    'origin_refused',
    `A web page from elsewhere (${JSON.stringify(from)}) may not use this server.`,
    {
      hint: 'Open the page from this server itself, or use the CLI.',
    },
  );
}

/** The name in `name:port`, in lower case; IPv6 keeps its brackets. */
function hostName(authority: string): string {
  return (/^(\[[^\]]*\]|[^:]*)(?::\d+)?$/.exec(authority)?.[1] ?? authority).toLowerCase();
}
