import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { createGateway, type GatewayDeps } from '../../src/gateway/create.ts';
import type { Gateway, ModelCall, ProviderConfig } from '../../src/gateway/gateway.ts';
import { loadPrices } from '../../src/gateway/prices.ts';

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
    void gateway.handle(request, response, { attemptId: 'attempt-1', model }, (call) => {
      calls.push(call);
      for (const waiter of waiting) if (calls.length >= waiter.count) waiter.resolve(calls);
    });
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
