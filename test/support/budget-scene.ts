import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Budget, BudgetView } from '../../src/contract/budget.ts';
import { createBudgets, type Budgets } from '../../src/flow/budget/budgets.ts';
import { budgetSums, budgetView } from '../../src/flow/budget/view.ts';
import type { AttemptCaller, LiveAttempt } from '../../src/flow/context.ts';
import { bookCall } from '../../src/flow/usage.ts';
import { createGateway } from '../../src/gateway/create.ts';
import { createPrices } from '../../src/gateway/prices.ts';
import { parseScript } from '../../src/gateway/scripted/script.ts';
import type { EventRow, Store } from '../../src/store/store.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { post, type Asked, type Got } from './gateway.ts';
import { runRow, testStore } from './store.ts';
import type { Dialect } from '../../src/contract/dialect.ts';

/** Runs with budgets in a real store, and the gateway before a scripted model. No agents: the test asks in their place. */

export interface BudgetScene {
  store: Store;
  budgets: Budgets;
  /** What was to follow, in order: `closed 1`, `closed all`, `exhausted 1/0`. */
  followed: string[];
  /** A new run; its number. */
  run(options?: { budget?: Budget; own?: Budget; variations?: number }): Promise<TestRun>;
}

export interface TestRun {
  no: number;
  /** A call of a variation's agent, to the model `s/m`. */
  call(variation: number, asked?: Asked, dialect?: Dialect): Promise<Got>;
  /** Where the run's budget stands, once all that was settled is stored. */
  standing(): Promise<BudgetView>;
  events(type: string): EventRow[];
}

export interface SceneOptions {
  script: string;
  day?: Budget;
  /** How long a call waits for room (ms). */
  patienceMs?: number;
  today?: () => string;
  store?: Store;
}

export async function budgetScene(options: SceneOptions): Promise<BudgetScene> {
  const store = options.store ?? testStore();
  const { db } = store;
  const telemetry = createTelemetry({ level: 'silent' });
  const budgets = createBudgets(
    { store, telemetry, config: { budget: { day: options.day } } },
    {
      ...(options.patienceMs === undefined ? {} : { patienceMs: options.patienceMs }),
      ...(options.today === undefined ? {} : { today: options.today }),
    },
  );
  const followed: string[] = [];
  budgets.listen({
    closed: (run) => followed.push(`closed ${run ?? 'all'}`),
    exhausted: (run, variation) => followed.push(`exhausted ${run}/${variation}`),
  });
  const context = { store, telemetry, budgets };
  const gateway = createGateway({
    providers: { s: { kind: 'scripted', baseUrl: '', key: null, keyFrom: null, keyNeeded: false } },
    scripts: { s: parseScript(options.script) },
    prices: createPrices({}),
  });
  const callers = new Map<string, AttemptCaller & Pick<LiveAttempt, 'bookings' | 'noted'>>();
  const server = createServer((request, response) => {
    const caller = callers.get(request.headers['x-test-attempt']?.toString() ?? '');
    if (caller === undefined) throw new Error('a test asks as nobody');
    gateway.handle(request, response, caller, bookCall(context, caller)).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    await gateway.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    store,
    budgets,
    followed,
    async run({ budget, own, variations = 1 } = {}) {
      const asText = (given: Budget | undefined): string | null => (given === undefined ? null : JSON.stringify(given));
      const id = `run-${callers.size}-${Math.random()}`;
      const no = await store.write({
        within: (tx) => {
          const row = { ...runRow(id), budget: asText(budget) };
          const run = tx.run(db.insertInto('runs').values(row)).lastInsertRowid;
          for (let index = 0; index < variations; index++) {
            const common = { run, status: 'running', ended_at: null } as const;
            tx.run(
              db.insertInto('variations').values({
                ...common,
                ...{ idx: index, agent: 'a', model: 's/m', dialect: 'openai', limits: '{}', budget: asText(own) },
                ...{ queued_at: '', retries_left: 0 },
              }),
            );
            const attemptNo = tx.run(
              db.insertInto('attempts').values({
                ...common,
                ...{
                  id: `${id}/${index}`,
                  variation: index,
                  attempt: 0,
                  isolation: '',
                  token_sha256: `${id}/${index}`,
                },
                ...{ started_at: '', last_seq: 0, gaps: '[]', keep: 0 },
              }),
            ).lastInsertRowid;
            const who = { runNo: run, runId: id, variation: index, attempt: 0, attemptNo, attemptId: `${id}/${index}` };
            callers.set(who.attemptId, { ...who, model: 's/m', bookings: new Set(), noted: new Set() });
          }
          return run;
        },
      });
      const settled = async (): Promise<void> => {
        await Promise.all([...callers.values()].flatMap(({ bookings }) => [...bookings]));
      };
      return {
        no,
        call: (variation, asked = {}, dialect = 'openai') =>
          post(baseUrl, dialect, asked, { 'x-test-attempt': `${id}/${variation}` }),
        standing: async () => {
          await settled();
          const view = budgetView(asText(budget ?? {}), [...(await budgetSums(store, no)).values()], true);
          if (view === null) throw new Error('there is no budget');
          return view;
        },
        events: (type) => store.readRows(no, { after: 0, limit: 10_000 }).filter((event) => event.type === type),
      };
    },
  };
}
