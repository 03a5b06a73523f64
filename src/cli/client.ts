import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import * as api from '../contract/api.ts';
import * as system from '../contract/api-system.ts';
import { AppError, type ErrorCode, errorCodes } from '../errors.ts';
import { followStream, type StreamItem, type StreamOptions } from './event-stream.ts';

export interface ClientOptions {
  url: string;
  key?: string | null | undefined;
  /** Asked for where the server is now, after a connection failed: one that was started anew has another port. */
  relocate?: (() => Promise<string>) | undefined;
}

interface CallOptions {
  body?: unknown;
  query?: Record<string, string | number | undefined>;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/** The HTTP API as typed calls. Every failure is an AppError: the server's own, or server_unreachable. */
export class Client {
  url: string;
  readonly #key: string | null | undefined;
  readonly #relocate: (() => Promise<string>) | undefined;

  constructor({ url, key, relocate }: ClientOptions) {
    this.url = url.replace(/\/+$/, '');
    this.#key = key;
    this.#relocate = relocate;
  }

  info(): Promise<system.Info> {
    return this.#json(system.info, 'GET', '/info');
  }

  /** Submits a run. Safe to repeat: a lost answer never makes a second run. */
  submit(body: api.SubmitInput): Promise<api.Submitted> {
    return this.#json(api.submitted, 'POST', '/runs', { body, headers: { 'idempotency-key': randomUUID() } });
  }

  runs(
    query: { cursor?: string | undefined; limit?: number | undefined; status?: string | undefined } = {},
  ): Promise<api.RunPage> {
    return this.#json(api.runPage, 'GET', '/runs', { query });
  }

  run(id: string): Promise<api.Run> {
    return this.#json(api.run, 'GET', runPath(id));
  }

  outputs(
    id: string,
    query: { after?: number; limit?: number; variation_id?: number | undefined },
  ): Promise<api.EventPage> {
    return this.#json(api.eventPage, 'GET', `${runPath(id)}/outputs`, { query });
  }

  compare(id: string): Promise<api.Comparison> {
    return this.#json(api.comparison, 'GET', `${runPath(id)}/compare`);
  }

  diff(id: string, a: number, b: number): Promise<Buffer> {
    return this.#bytes(`${runPath(id)}/diff`, { query: { a, b } });
  }

  patch(id: string, variation: number): Promise<Buffer> {
    return this.#bytes(`${runPath(id)}/variations/${variation}/patch`);
  }

  select(id: string, body: z.input<typeof api.selectRequest>): Promise<api.Run> {
    return this.#json(api.run, 'POST', `${runPath(id)}/select`, { body });
  }

  ship(id: string, body: z.input<typeof api.shipRequest>): Promise<api.Shipped> {
    return this.#json(api.shipped, 'POST', `${runPath(id)}/ship`, { body });
  }

  /** Cancels a run, or one variation of it. */
  cancel(id: string, variation?: number): Promise<api.Run> {
    return this.#json(
      api.run,
      'POST',
      variation === undefined ? `${runPath(id)}/cancel` : `${runPath(id)}/variations/${variation}/cancel`,
    );
  }

  retry(id: string, variation: number): Promise<api.Run> {
    return this.#json(api.run, 'POST', `${runPath(id)}/variations/${variation}/retry`, {
      headers: { 'idempotency-key': randomUUID() },
    });
  }

  /** Cancels and forgets a run. True when it is gone, false while something of it still stops. */
  async forget(id: string): Promise<boolean> {
    const response = await this.#send('DELETE', runPath(id));
    await response.body?.cancel();
    return response.status === 204;
  }

  async keys(): Promise<system.KeyView[]> {
    return (await this.#json(system.keyList, 'GET', '/keys')).keys;
  }

  createKey(body: z.input<typeof system.createKey>): Promise<system.CreatedKey> {
    return this.#json(system.createdKey, 'POST', '/keys', { body });
  }

  async revokeKey(id: string): Promise<void> {
    const response = await this.#send('DELETE', `/keys/${encodeURIComponent(id)}`);
    await response.body?.cancel();
  }

  /** A run's events from a cursor on until it is over, across cuts and restarts of the server (see event-stream.ts). */
  stream(id: string, options: StreamOptions = {}): AsyncGenerator<StreamItem, void> {
    return followStream(
      (query, headers, signal) => this.#once('GET', `${runPath(id)}/stream`, { query, headers, signal }),
      () => this.relocate(),
      options,
    );
  }

  /** Looks where the server is now. Errors are those of whoever knows: a server that cannot start says why. */
  async relocate(): Promise<void> {
    if (this.#relocate !== undefined) this.url = (await this.#relocate()).replace(/\/+$/, '');
  }

  async #json<Schema extends z.ZodType>(
    schema: Schema,
    method: string,
    path: string,
    options: CallOptions = {},
  ): Promise<z.output<Schema>> {
    const response = await this.#send(method, path, options);
    const parsed = schema.safeParse(await response.json());
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw new AppError(
      'internal',
      `The server at ${this.url} answered ${method} ${path} in a form this program does not know (${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}).`,
      {
        hint: 'Server and CLI are of different versions: restart the server.',
      },
    );
  }

  async #bytes(path: string, options: CallOptions = {}): Promise<Buffer> {
    return Buffer.from(await (await this.#send('GET', path, options)).arrayBuffer());
  }

  /** One call; repeated once elsewhere where the server has moved. All calls but those without an idempotency key may be repeated. */
  async #send(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    try {
      return await this.#once(method, path, options);
    } catch (error) {
      const repeatable = method !== 'POST' || options.headers?.['idempotency-key'] !== undefined;
      if (
        !(error instanceof AppError && error.code === 'server_unreachable') ||
        !repeatable ||
        this.#relocate === undefined
      )
        throw error;
      await this.relocate();
      return this.#once(method, path, options);
    }
  }

  async #once(method: string, path: string, { body, query, headers, signal }: CallOptions): Promise<Response> {
    const url = new URL(`${this.url}/api/v1${path}`);
    for (const [name, value] of Object.entries(query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    let response: Response;
    try {
      response = await fetch(url, {
        method,
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(this.#key === null || this.#key === undefined ? {} : { authorization: `Bearer ${this.#key}` }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      throw unreachable(this.url, error);
    }
    if (response.ok) return response;
    throw await errorOf(response, this.url);
  }
}

function runPath(id: string): string {
  return `/runs/${encodeURIComponent(id)}`;
}

export function unreachable(url: string, cause: unknown): AppError {
  const reason =
    cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : String(cause);
  return new AppError(
    'server_unreachable',
    `No answer from ${url}: ${reason === '' ? 'the connection failed' : reason}.`,
    {
      hint: 'Is the server running? `aideator doctor` looks; `aideator serve` starts one.',
      cause,
    },
  );
}

/** The AppError that a problem document stands for. */
async function errorOf(response: Response, url: string): Promise<AppError> {
  const body = await response.text();
  const parsed = system.problem.safeParse(parseJson(body));
  if (!parsed.success) {
    return new AppError(
      response.status >= 500 ? 'server_unreachable' : 'internal',
      `${url} answered ${response.status}, and not as AIdeator does.`,
      {
        hint: 'Is something else listening there? Look at --url and AIDEATOR_URL.',
      },
    );
  }
  const {
    detail,
    code,
    hint,
    errors,
    type: _type,
    title: _title,
    status: _status,
    instance: _instance,
    ...details
  } = parsed.data;
  const places =
    errors?.filter(({ message }) => !detail.includes(message)).map(({ path, message }) => `${path}: ${message}`) ?? [];
  return new AppError(isErrorCode(code) ? code : 'internal', [detail, ...places].join('\n'), {
    ...(hint === undefined ? {} : { hint }),
    details: { ...details, ...(errors === undefined ? {} : { errors }) },
  });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
