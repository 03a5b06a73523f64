import { getRequestListener } from '@hono/node-server';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { AppError, toAppError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { isLoopback } from './auth.ts';
import type { Door } from './door.ts';
import type { Keys } from './keys.ts';
import { problemResponse } from './problem.ts';

export interface ListenOptions {
  host: string;
  /** 0 = any free one. */
  port: number;
  keys: Keys;
  log?: Log | undefined;
  /** How long `close` waits for requests and streams to end, before it cuts them off. */
  closeTimeoutMs?: number;
}

export interface Listening {
  readonly url: string;
  readonly port: number;
  /** Stops accepting, ends streams in order, waits for what is under way, for a bounded time. */
  close(): Promise<void>;
}

/** Serves the door. Errors: port_in_use, exposed_without_key, invalid_config (an address that cannot be listened on). */
export async function listen({ app, streams }: Door, options: ListenOptions): Promise<Listening> {
  const { host, port, keys, log, closeTimeoutMs = 5000 } = options;
  if (!isLoopback(host) && (await keys.count()) === 0) {
    throw new AppError(
      'exposed_without_key',
      `Others could reach the server on ${host}, and there is no API key yet.`,
      {
        hint: 'Make one with `aideator keys create me --scope admin`, or listen on 127.0.0.1.',
      },
    );
  }
  const handle = getRequestListener(app.fetch, {
    // For HTTP/1.0, which may leave the Host out.
    hostname: 'localhost',
    overrideGlobalObjects: false,
    errorHandler: (error) => {
      const failure =
        error instanceof Error && error.name === 'RequestError'
          ? new AppError('invalid_request', `The request cannot be read: ${error.message}`, { cause: error })
          : toAppError(error);
      if (failure.status >= 500) log?.error({ err: error }, 'a request failed outside of its route');
      return problemResponse(failure);
    },
  });
  const server = createServer(
    { headersTimeout: 20_000, requestTimeout: 120_000, keepAliveTimeout: 65_000, maxHeaderSize: 32 * 1024 },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        log?.error({ err: error }, 'an answer could not be sent');
        response.destroy();
      });
    },
  );
  await start(server, host, port);
  server.on('error', (error) => log?.error({ err: error }, 'the listening socket failed'));
  const address = server.address();
  const bound = typeof address === 'object' && address !== null ? address.port : port;
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    await streams.close();
    const timer = setTimeout(() => server.closeAllConnections(), closeTimeoutMs);
    // A connection whose last answer went out just now becomes idle a moment later.
    const sweep = setInterval(() => server.closeIdleConnections(), 20);
    await promise;
    clearTimeout(timer);
    clearInterval(sweep);
  };
  return { url: `http://${name}:${bound}`, port: bound, close: () => (closed ??= close()) };
}

async function start(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host, port }, resolve);
  try {
    await promise;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EADDRINUSE') {
      throw new AppError('port_in_use', `Port ${port} on ${host} is in use by another program.`, {
        cause: error,
        hint: 'Choose another with `--port` or AIDEATOR_PORT (0 = any free one), or stop the other program.',
        details: { host, port },
      });
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new AppError('invalid_config', `The server cannot listen on ${host}, port ${port}: ${why}`, {
      cause: error,
      hint: 'Choose an address of this machine with `--host`, and a port above 1023 with `--port`.',
    });
  } finally {
    server.off('error', reject);
  }
}
