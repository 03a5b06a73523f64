import { onTestFinished } from 'vitest';
import type { Run, RunStatusView, VariationView } from '../../src/contract/api.ts';
import type { AgentView, Info } from '../../src/contract/api-system.ts';
import { newRunId, now } from '../../src/contract/ids.ts';
import { defaultLimits } from '../../src/contract/run.ts';
import { AppError } from '../../src/errors.ts';
import type { Flow } from '../../src/flow/flow.ts';
import { buildApp } from '../../src/http/app.ts';
import type { Door, DoorApp } from '../../src/http/door.ts';
import { createKeys, type Keys } from '../../src/http/keys.ts';
import { listen, type Listening } from '../../src/http/server.ts';
import type { SseHub, SseOptions } from '../../src/http/sse.ts';
import { openStore } from '../../src/store/database.ts';
import type { NewEvent, Store } from '../../src/store/store.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { tempDir } from './temp.ts';

/** The public door over a real store, with a double in place of the flow. */

export interface TestRun {
  id: string;
  no: number;
  over: boolean;
}

export interface FlowDouble extends Flow {
  /** Runs it knows. */
  runs: Map<string, TestRun>;
  /** What was asked of it, in words. */
  calls: string[];
  /** Set to make the next call fail. */
  failure: Error | undefined;
  /** Set to hold calls up. */
  gate: Promise<void> | undefined;
}

export interface TestDoor {
  app: DoorApp;
  store: Store;
  flow: FlowDouble;
  keys: Keys;
  streams: SseHub;
  door: Door;
  logged: string[];
  /** Stores a run of that many variations, without events. */
  addRun(): Promise<TestRun>;
  /** Appends events to a run. */
  append(run: TestRun, events: readonly Partial<NewEvent>[]): Promise<void>;
  /** Appends run_complete and marks the run as over, in that order, like the flow does. */
  complete(run: TestRun): Promise<void>;
  serve(): Promise<Listening>;
}

export interface TestDoorOptions {
  sse?: Partial<SseOptions>;
  host?: string;
  closeTimeoutMs?: number;
  allowedHosts?: string[];
  /** Tells of commits a turn late: readers may have found the events in the store by then. */
  lateCommits?: boolean;
}

export async function testDoor(options: TestDoorOptions = {}): Promise<TestDoor> {
  const store = openStore(`${tempDir()}/events.db`);
  const { onCommit } = store;
  if (options.lateCommits === true) {
    store.onCommit = (listener) =>
      onCommit.call(store, (committed) => void setImmediate(() => setImmediate(() => listener(committed))));
  }
  const logged: string[] = [];
  const telemetry = createTelemetry({
    level: 'debug',
    destination: { write: (line: string) => void logged.push(line) },
  });
  const keys = createKeys(store);
  const flow = flowDouble();
  const host = options.host ?? '127.0.0.1';
  const door = buildApp({
    flow,
    store,
    keys,
    telemetry,
    version: '0.0.0-test',
    host,
    allowedHosts: options.allowedHosts ?? [],
    sse: options.sse,
  });
  const { app, streams } = door;
  const servers: Listening[] = [];
  onTestFinished(async () => {
    await streams.close();
    await Promise.all(servers.map((server) => server.close()));
    await store.close();
  });
  return {
    app,
    door,
    store,
    flow,
    keys,
    streams,
    logged,
    async addRun() {
      const id = newRunId();
      const no = await store.write({
        within: (tx) =>
          tx.run(
            store.db.insertInto('runs').values({
              id,
              repository: '/repo',
              mirror: 'repo',
              ref: null,
              base: 'a'.repeat(40),
              prompt: 'Do it',
              max_parallel: 1,
              retries: 0,
              image: null,
              budget: null,
              limits: '{}',
              status: 'running',
              created_at: now(),
              ended_at: null,
              cancelled_at: null,
              forget_at: null,
            }),
          ).lastInsertRowid,
      });
      const run = { id, no, over: false };
      flow.runs.set(id, run);
      return run;
    },
    async append(run, events) {
      await store.write({
        events: events.map((event) => ({
          run: run.no,
          variation: null,
          attempt: null,
          seq: null,
          span: 1,
          type: 'agent_output',
          data: '{}',
          ...event,
        })),
      });
    },
    async complete(run) {
      await store.write({
        events: [
          {
            run: run.no,
            variation: null,
            attempt: null,
            seq: null,
            span: 1,
            type: 'run_complete',
            data: '{"status":"completed"}',
          },
        ],
        within: () => {
          run.over = true;
        },
      });
    },
    async serve() {
      const server = await listen(door, {
        host,
        port: 0,
        keys,
        log: telemetry.log,
        closeTimeoutMs: options.closeTimeoutMs ?? 1000,
      });
      servers.push(server);
      return server;
    },
  };
}

function flowDouble(): FlowDouble {
  const runs = new Map<string, TestRun>();
  const find = (id: string): TestRun => {
    const run = runs.get(id);
    if (run === undefined)
      throw new AppError('run_not_found', `There is no run ${id}.`, { hint: '`aideator list` shows them.' });
    return run;
  };
  const usage = {
    calls: 0,
    input_tokens: null,
    output_tokens: null,
    cache_read_tokens: null,
    cache_write_tokens: null,
    cost_microdollars: null,
  };
  const times = { queued_at: now(), started_at: null, ended_at: null, queued_ms: 1, running_ms: null };
  const variation: VariationView = {
    variation_id: 0,
    agent: 'builtin',
    model: 'scripted/demo',
    strategy: null,
    forked_from: null,
    status: 'failed',
    end_reason: 'timeout',
    message: 'Its time was up.',
    ...times,
    usage,
    files_changed: null,
    additions: null,
    deletions: null,
    patch_url: null,
    result_attempt: null,
    prompts_waiting: 0,
    limits: defaultLimits,
    budget: null,
    attempts: [
      {
        attempt: 0,
        continues: null,
        attempt_id: 'a',
        status: 'failed',
        end_reason: 'timeout',
        message: null,
        started_at: now(),
        ended_at: null,
        last_seq: 1,
        log_complete: null,
        waiting: null,
        job: null,
        gaps: [{ from_seq: 1, to_seq: null, reason: 'lost' }],
        isolation: 'none',
      },
    ],
  };
  const counts = { total: 1, queued: 0, running: 0, succeeded: 0, failed: 1, cancelled: 0 };
  const summary = (id: string) => ({
    run_id: id,
    status: 'failed' as const,
    summary: '0 of 1 variations succeeded',
    repository: '/repo',
    ref: null,
    base: 'a'.repeat(40),
    prompt: 'Do it',
    counts,
    created_at: now(),
    ended_at: null,
    choice: null,
  });
  const whole = (id: string): Run => ({
    ...summary(id),
    max_parallel: 1,
    retries: 0,
    image: null,
    budget: null,
    usage,
    variations: [variation],
    last_event_id: 0,
  });
  const view = (id: string): RunStatusView => ({
    run_id: id,
    status: 'failed',
    summary: 'x',
    counts,
    variations: [{ variation_id: 0, status: 'failed', end_reason: null, message: null }],
  });
  const info: Info = {
    version: '0',
    runtime: 'local',
    isolation: 'none',
    sandbox: { kind: 'none', problem: null, hint: null },
    data_dir: '/data',
    agents: [{ name: 'builtin', description: '' }],
    strategies: [],
    providers: [{ name: 'scripted', kind: 'scripted', base_url: '', key: 'not_needed', key_from: null }],
    default_model: null,
    limits: defaultLimits,
    budget_day: null,
    max_parallel: 4,
    active_runs: 0,
  };

  const agent: AgentView = {
    name: 'builtin',
    description: '',
    licence: null,
    dialects: null,
    helper_models: null,
    package: null,
    state: 'ready',
    from: 'builtin',
    version: '0',
    message: null,
    hint: null,
  };

  const double: FlowDouble = {
    runs,
    calls: [],
    failure: undefined,
    gate: undefined,
    submit: (request) =>
      called(`submit ${request.prompt} ${JSON.stringify(request.variations)}`, () => ({
        run_id: 'abcdefghij',
        status: 'queued',
        stream_url: '/s',
        status_url: '/t',
        base: 'a'.repeat(40),
        isolation: 'none',
      })),
    list: (query) =>
      called(`list ${JSON.stringify(query)}`, () => ({ runs: [...runs.keys()].map(summary), next_cursor: null })),
    run: (id) => called(`run ${id}`, () => whole(find(id).id)),
    status: (id) => called(`status ${id}`, () => view(find(id).id)),
    variation: (id, v) =>
      called(`variation ${id} ${v}`, () => {
        find(id);
        known(v);
        return variation;
      }),
    outputs: (id, query) =>
      called(`outputs ${id} ${JSON.stringify(query)}`, () => {
        find(id);
        return { events: [{ id: 1, type: 'agent_output', data: {} }], next_after: null };
      }),
    compare: (id) =>
      called(`compare ${id}`, () => {
        const {
          counts: _counts,
          repository: _repository,
          ref: _ref,
          prompt: _prompt,
          created_at: _created,
          ended_at: _ended,
          ...facts
        } = summary(find(id).id);
        return { ...facts, budget: null, variations: [], files: { all: [], some: [], one: [] } };
      }),
    patch: (id, v) =>
      called(`patch ${id} ${v}`, () => {
        find(id);
        known(v);
        return Buffer.from([0x2d, 0xff, 0x00, 0x0a]);
      }),
    diff: (id, a, b) =>
      called(`diff ${id} ${a} ${b}`, () => {
        find(id);
        return Buffer.from('--- a\n');
      }),
    select: (id, request) => called(`select ${id} ${JSON.stringify(request)}`, () => whole(find(id).id)),
    ship: (id, request) =>
      called(`ship ${id} ${JSON.stringify(request)}`, () => ({
        run_id: find(id).id,
        variation_id: 0,
        kind: request.kind,
        branch: null,
        commit: null,
        repository: '/repo',
        files: 1,
      })),
    cancel: (id, v) => called(`cancel ${id} ${v ?? 'all'}`, () => whole(find(id).id)),
    retry: (id, v) => called(`retry ${id} ${v}`, () => whole(find(id).id)),
    prompt: (id, v, { prompt }) =>
      called(`prompt ${id} ${v} ${prompt}`, () => {
        find(id);
        known(v);
        return { run_id: id, variation_id: v, prompt_id: 1, becomes: 'next_turn', waiting: 1 };
      }),
    fork: (id, request) =>
      called(`fork ${id} ${JSON.stringify(request)}`, () => ({
        run_id: find(id).id,
        variation_id: 3,
        forked_from: { variation_id: request.from, attempt: 0 },
      })),
    forget: (id) => called(`forget ${id}`, () => find(id).over),
    agents: {
      list: () => called('agents', () => [agent]),
      view: (name) => called(`agent ${name}`, () => agent),
      install: (name, { force }) => called(`install ${name} ${force}`, () => agent),
    },
    info: () => called('info', () => info),
    doctor: () => called('doctor', () => ({ findings: [] })),
    states: async () => ({ runs: {}, variations: {} }),
    streamSource: (id, v) =>
      called(`stream ${id}`, () => {
        const run = find(id);
        if (v !== undefined) known(v);
        return { run: run.no, isOver: () => run.over };
      }),
  };
  const known = (v: number): void => {
    if (v > 2) throw new AppError('variation_not_found', `There is no variation ${v}.`, { hint: 'They count from 0.' });
  };
  async function called<T>(what: string, answer: () => T): Promise<T> {
    double.calls.push(what);
    await double.gate;
    const { failure } = double;
    double.failure = undefined;
    if (failure !== undefined) throw failure;
    return answer();
  }
  return double;
}
