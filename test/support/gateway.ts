import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Dialect } from '../../src/gateway/dialect.ts';
import { createGateway, type GatewayDeps } from '../../src/gateway/create.ts';
import type { Gateway, ModelCall, ProviderConfig } from '../../src/gateway/gateway.ts';
import { loadPrices } from '../../src/gateway/prices.ts';
import { startModelServer, startServer, type TestServer } from './model-server.ts';

export interface MountedGateway {
  /** Without a trailing slash and without /v1. */
  baseUrl: string;
  gateway: Gateway;
  /** Waits until so many calls are recorded, and gives all of them. */
  recorded(count: number): Promise<ModelCall[]>;
}

/** A gateway on a free loopback port, for one caller that may use `model`; closed when the test ends. */
export async function mountGateway(
  model: string,
  deps: Partial<GatewayDeps> & Pick<GatewayDeps, 'providers'>,
): Promise<MountedGateway> {
  const gateway = createGateway({ prices: loadPrices(), ...deps });
  const calls: ModelCall[] = [];
  const waiting: Array<{ count: number; resolve: (calls: ModelCall[]) => void }> = [];
  const server = createServer((request, response) => {
    const record = (call: ModelCall): void => {
      calls.push(call);
      for (const waiter of waiting) if (calls.length >= waiter.count) waiter.resolve(calls);
    };
    gateway.handle(request, response, { attemptId: 'attempt-1', model }, record).catch(() => response.destroy());
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
export const paths = { anthropic: '/v1/messages', openai: '/v1/chat/completions' } as const;
export const dialects = ['anthropic', 'openai'] as const;

/** An answer, read to its end or to where it broke off. */
export interface Got {
  status: number;
  headers: Headers;
  text: string;
  /** Whether the answer was cut off. */
  cut: boolean;
}

/** Posts a request to a server at `at`; `body` is its text, or what is to be added to the smallest request. */
export async function post(
  at: string,
  dialect: Dialect,
  body: unknown = {},
  headers: Record<string, string> = {},
  query = '',
): Promise<Got> {
  const sent =
    typeof body === 'string'
      ? body
      : JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x' }], ...(body as object) });
  const response = await fetch(`${at}${paths[dialect]}${query}`, {
    method: 'POST',
    body: sent,
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

/** A provider at a test's server, with the key. */
export const keyed = (kind: Dialect, server: TestServer): ProviderConfig =>
  providerAt(kind, kind === 'anthropic' ? server.baseUrl : `${server.baseUrl}/v1`, {
    key: KEY,
    keyFrom: 'environment TEST_KEY',
    keyNeeded: true,
  });

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
