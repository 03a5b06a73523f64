import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import * as api from '../contract/api.ts';
import * as steering from '../contract/api-steering.ts';
import * as system from '../contract/api-system.ts';
import { AppError } from '../errors.ts';
import { followStream, type StreamItem, type StreamOptions } from './event-stream.ts';
import { notOurs, parseJson, refusalOf, unreachable } from './refusals.ts';

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
  /** The media type that the answer has to have; JSON when left out. */
  type?: string;
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

  /** @param probe also runs something for a moment, as an attempt would be: it takes seconds */
  doctor(probe: boolean): Promise<system.DoctorReport> {
    return this.#json(system.doctorReport, 'GET', '/doctor', { query: { probe: String(probe) } });
  }

  async agents(): Promise<system.AgentView[]> {
    return (await this.#json(system.agentList, 'GET', '/agents')).agents;
  }

  agent(name: string): Promise<system.AgentView> {
    return this.#json(system.agentView, 'GET', `/agents/${encodeURIComponent(name)}`);
  }

  /** Begins to install an agent where the server is; asking again changes nothing. */
  installAgent(name: string, body: z.input<typeof system.installRequest>): Promise<system.AgentView> {
    return this.#json(system.agentView, 'POST', `/agents/${encodeURIComponent(name)}/install`, { body });
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
    return this.#bytes(`${runPath(id)}/diff`, { query: { a, b }, type: 'text/x-diff' });
  }

  patch(id: string, variation: number): Promise<Buffer> {
    return this.#bytes(`${runPath(id)}/variations/${variation}/patch`, { type: 'text/x-diff' });
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

  /** Safe to repeat: a lost answer never says it twice. */
  tell(id: string, variation: number, body: steering.PromptRequest): Promise<steering.Prompted> {
    return this.#json(steering.prompted, 'POST', `${runPath(id)}/variations/${variation}/prompts`, {
      body,
      headers: { 'idempotency-key': randomUUID() },
    });
  }

  /** Safe to repeat: a lost answer never makes a second one. */
  fork(id: string, body: steering.ForkRequest): Promise<steering.Forked> {
    return this.#json(steering.forked, 'POST', `${runPath(id)}/variations`, {
      body,
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
      (query, headers, signal) =>
        this.#once('GET', `${runPath(id)}/stream`, { query, headers, signal, type: 'text/event-stream' }),
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
    const body = await this.#read(() => response.text());
    const json = parseJson(body);
    if (json === undefined) throw notOurs(response, this.url, body);
    const parsed = schema.safeParse(json);
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
    const response = await this.#send('GET', path, options);
    return Buffer.from(await this.#read(() => response.arrayBuffer()));
  }

  /** A body, whole: one that is cut is no answer. */
  async #read<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw unreachable(this.url, error, this.#relocate !== undefined);
    }
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

  async #once(method: string, path: string, options: CallOptions): Promise<Response> {
    const { body, query, headers, signal, type = 'application/json' } = options;
    const url = new URL(`${this.url}/api/v1${path}`);
    for (const [name, value] of Object.entries(query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    let response: Response;
    try {
      response = await fetch(url, {
        method,
        // Nobody but this server is to get the key, and a POST that is sent on is a GET: whoever redirects is told of.
        redirect: 'manual',
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(this.#key === null || this.#key === undefined ? {} : { authorization: `Bearer ${this.#key}` }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      throw unreachable(this.url, error, this.#relocate !== undefined);
    }
    if (!response.ok) throw await this.#read(() => refusalOf(response, this.url));
    // A page of whatever stands in front of the server comes with a good status, too.
    if (response.headers.get('content-type')?.startsWith(type) !== false) return response;
    throw notOurs(response, this.url, await this.#read(() => response.text()));
  }
}

function runPath(id: string): string {
  return `/runs/${encodeURIComponent(id)}`;
}
