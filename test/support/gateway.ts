import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { DIALECTS, type Dialect, type ProviderKind } from '../../src/contract/dialect.ts';
import { routeOf, type Route } from '../../src/gateway/dialect.ts';
import { createGateway, type GatewayDeps } from '../../src/gateway/create.ts';
import type { Booking, Caller, Claim, Gateway, ModelCall, ProviderConfig } from '../../src/gateway/gateway.ts';
import { loadPrices } from '../../src/gateway/prices.ts';
import { startModelServer, startServer, type TestServer } from './model-server.ts';

export interface MountedGateway {
  /** Without a trailing slash and without /v1. */
  baseUrl: string;
  gateway: Gateway;
  /** Waits until so many calls are recorded, and gives all of them. */
  recorded(count: number): Promise<ModelCall[]>;
  /** What was set aside for calls, in order. */
  claims: readonly Claim[];
  /** What was said while calls went on. */
  notes: ReadonlyArray<Record<string, unknown>>;
}

/** A gateway on a free loopback port, for one caller that may use `model`; closed when the test ends. */
export async function mountGateway(
  model: string,
  deps: Partial<GatewayDeps> & Pick<GatewayDeps, 'providers'>,
  caller: Partial<Caller> = {},
): Promise<MountedGateway> {
  const gateway = createGateway({ prices: loadPrices(), ...deps });
  const calls: ModelCall[] = [];
  const claims: Claim[] = [];
  const notes: Array<Record<string, unknown>> = [];
  const waiting: Array<{ count: number; resolve: (calls: ModelCall[]) => void }> = [];
  const server = createServer((request, response) => {
    const booking: Booking = {
      reserve: (claim) => Promise.resolve(void claims.push(claim)),
      note: (content, facts) => void notes.push({ content, ...facts }),
      settle: (call) => {
        calls.push(call);
        for (const waiter of waiting) if (calls.length >= waiter.count) waiter.resolve(calls);
      },
    };
    const who = request.headers['x-test-attempt']?.toString() ?? 'attempt-1';
    gateway.handle(request, response, { model, attemptId: who, ...caller }, booking).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    await gateway.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return {
    baseUrl: `http://127.0.0.1:${port}`,
    gateway,
    claims,
    notes,
    recorded: (count) =>
      calls.length >= count ? Promise.resolve(calls) : new Promise((resolve) => void waiting.push({ count, resolve })),
  };
}

/** A provider's configuration with what tests usually want. */
export function providerAt(
  kind: ProviderConfig['kind'],
  baseUrl: string,
  more: Partial<ProviderConfig> = {},
): ProviderConfig {
  return { kind, baseUrl, key: null, keyFrom: null, keyNeeded: false, ...more };
}

/** A key that must never be seen again. */
export const KEY = 'sk-canary-7f3b1d5e9a2c4680';
export const dialects = DIALECTS;

/** Where a request of a dialect goes, its query included. */
export function pathOf(dialect: Dialect, { model = 'm', stream = false } = {}): string {
  switch (dialect) {
    case 'anthropic':
      return '/v1/messages';
    case 'openai':
      return '/v1/chat/completions';
    case 'responses':
      return '/v1/responses';
    case 'gemini': {
      const method = stream ? 'streamGenerateContent?alt=sse' : 'generateContent';
      return `/v1beta/models/${encodeURIComponent(model)}:${method}`;
    }
  }
}

/** The route of a path, with or without its query. */
export function routeAt(path: string): Route {
  const route = routeOf(path.split('?', 1)[0] ?? '');
  if (route === undefined) throw new Error(`there is no route ${path}`);
  return route;
}

export interface Asked {
  model?: string;
  stream?: boolean;
  messages?: ReadonlyArray<{ role: string; content: string }>;
  [other: string]: unknown;
}

/** A request in a dialect: the smallest there is, with what is asked for besides. */
export function requestOf(dialect: Dialect, asked: Asked = {}): { path: string; body: string } {
  const { model = 'm', stream, messages = [{ role: 'user', content: 'x' }], ...rest } = asked;
  const streamed = stream === undefined ? {} : { stream };
  const path = pathOf(dialect, { model, stream: stream === true });
  switch (dialect) {
    case 'anthropic':
    case 'openai':
      return { path, body: JSON.stringify({ model, messages, ...streamed, ...rest }) };
    case 'responses':
      return { path, body: JSON.stringify({ model, input: messages, ...streamed, ...rest }) };
    case 'gemini': {
      const contents = messages.map(({ role, content }) => ({
        role: role === 'assistant' ? 'model' : role,
        parts: [{ text: content }],
      }));
      return { path, body: JSON.stringify({ contents, ...rest }) };
    }
  }
}

/** The header that holds the key. */
export function keyHeader(dialect: Dialect, key: string): Record<string, string> {
  if (dialect === 'anthropic') return { 'x-api-key': key };
  return dialect === 'gemini' ? { 'x-goog-api-key': key } : { authorization: `Bearer ${key}` };
}

/** An answer, read to its end or to where it broke off. */
export interface Got {
  status: number;
  headers: Headers;
  text: string;
  /** Whether the answer was cut off. */
  cut: boolean;
}

/** Sends a request and gives back its answer, unread. */
export function send(at: string, dialect: Dialect, asked: Asked, init: RequestInit = {}): Promise<Response> {
  const { path, body } = requestOf(dialect, asked);
  return fetch(`${at}${path}`, { method: 'POST', body, ...init });
}

/** Posts a request to a server at `at`; `body` is its text, or what is to be added to the smallest request. */
export async function post(
  at: string,
  dialect: Dialect,
  body: string | Asked = {},
  headers: Record<string, string> = {},
  query = '',
): Promise<Got> {
  const asked = typeof body === 'string' ? { path: pathOf(dialect), body } : requestOf(dialect, body);
  const response = await fetch(`${at}${asked.path}${query}`, {
    method: 'POST',
    body: asked.body,
    headers: { 'content-type': 'application/json', ...headers },
    redirect: 'manual',
  });
  const chunks: Uint8Array[] = [];
  let cut = false;
  try {
    for await (const chunk of response.body ?? []) chunks.push(chunk);
  } catch {
    cut = true;
  }
  return { status: response.status, headers: response.headers, text: Buffer.concat(chunks).toString('utf8'), cut };
}

/** An error's message, and AIdeator's own word for it, in whichever dialect it is. */
export function errorIn(text: string): { message: string; code: unknown } {
  const { error } = JSON.parse(text) as {
    error: { message: string; code?: unknown; details?: Array<{ reason: string }> };
  };
  return { message: error.message, code: error.details === undefined ? error.code : error.details[0]?.reason };
}

/** A provider at a test's server, with the key. */
export const keyed = (dialect: Dialect, server: TestServer): ProviderConfig =>
  providerAt(kindOf(dialect), kindOf(dialect) === 'openai' ? `${server.baseUrl}/v1` : server.baseUrl, {
    key: KEY,
    keyFrom: 'environment TEST_KEY',
    keyNeeded: true,
  });

/** The kind of provider that speaks a dialect. */
export function kindOf(dialect: Dialect): ProviderKind {
  return dialect === 'responses' ? 'openai' : dialect;
}

/** A gateway for the model `p/m`, with any handler as its provider. */
export async function before(
  dialect: Dialect,
  listener: (request: IncomingMessage, response: ServerResponse) => void | Promise<void>,
  deps: Partial<GatewayDeps> = {},
): Promise<{ gateway: MountedGateway; upstream: TestServer }> {
  const upstream = await startServer((request, response) => {
    Promise.resolve(listener(request, response)).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  });
  const gateway = await mountGateway('p/m', { providers: { p: keyed(dialect, upstream) }, ...deps });
  return { gateway, upstream };
}

/** The same with the scripted model as a server of its own: `turn` is its only turn, in YAML. */
export async function beforeScript(
  dialect: Dialect,
  turn: string,
  deps: Partial<GatewayDeps> = {},
): Promise<{ gateway: MountedGateway; upstream: TestServer }> {
  const upstream = await startModelServer(`models:\n  m:\n    turns:\n      - ${turn}\n`, { key: KEY });
  const gateway = await mountGateway('p/m', { providers: { p: keyed(dialect, upstream) }, ...deps });
  return { gateway, upstream };
}
