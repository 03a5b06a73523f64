import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createBudgets } from '../../src/flow/budget/budgets.ts';
import { bookCall } from '../../src/flow/usage.ts';
import { createGateway } from '../../src/gateway/create.ts';
import { createPrices } from '../../src/gateway/prices.ts';
import { openStore } from '../../src/store/database.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { serve } from '../harness/serve.ts';

/** The gateway with all that a call needs: a budget, its booking in a store on disk, its event. */
let close = (): Promise<void> => Promise.resolve();

const handlers = {
  open: async ({ folder, provider }: { folder: string; provider: string }) => {
    const store = openStore(join(folder, 'gateway.sqlite'));
    const telemetry = createTelemetry({ level: 'error' });
    const budgets = createBudgets({ store, telemetry, config: { budget: { day: { max_tokens: 1_000_000_000_000 } } } });
    const gateway = createGateway({
      providers: { p: { kind: 'openai', baseUrl: `${provider}/v1`, key: 'k', keyFrom: null, keyNeeded: false } },
      prices: createPrices({ 'p/m': { input: 1_000_000, output: 1_000_000 } }),
    });
    const { db } = store;
    const runNo = await store.write({
      within: (tx) => {
        const times = { created_at: '', queued_at: '', started_at: '' };
        const run = tx.run(
          db.insertInto('runs').values({
            ...{ id: 'bench', repository: '', mirror: '', base: '', prompt: '', max_parallel: 1, retries: 0 },
            ...{ limits: '{}', status: 'running', created_at: times.created_at },
            budget: '{"max_cost_microdollars":1000000000000}',
          }),
        ).lastInsertRowid;
        tx.run(
          db.insertInto('variations').values({
            ...{ run, idx: 0, agent: 'a', model: 'p/m', dialect: 'openai', limits: '{}', status: 'running' },
            ...{ queued_at: times.queued_at, retries_left: 0 },
          }),
        );
        tx.run(
          db.insertInto('attempts').values({
            ...{ id: 'a', run, variation: 0, attempt: 0, status: 'running', isolation: '', token_sha256: '' },
            ...{ started_at: times.started_at, last_seq: 0, gaps: '[]', keep: 0 },
          }),
        );
        return run;
      },
    });
    const who = { runNo, runId: 'bench', variation: 0, attempt: 0, attemptNo: 1, attemptId: 'a', model: 'p/m' };
    const caller = { ...who, bookings: new Set<Promise<void>>(), noted: new Set<string>() };
    const server = createServer((request, response) => {
      gateway.handle(request, response, caller, bookCall({ store, telemetry, budgets }, caller)).catch(() => {
        response.destroy();
      });
    });
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    close = async () => {
      server.closeAllConnections();
      await gateway.close();
      await Promise.all(caller.bookings);
      await store.close();
    };
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
};
export type GatewayServer = typeof handlers;

serve(handlers, () => close());
