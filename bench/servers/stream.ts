import { join } from 'node:path';
import { newRunId } from '../../src/contract/ids.ts';
import { AppError } from '../../src/errors.ts';
import type { Flow } from '../../src/flow/flow.ts';
import { createSecrets } from '../../src/flow/secrets.ts';
import { eventOf } from '../../src/flow/stream.ts';
import { buildApp } from '../../src/http/app.ts';
import { createKeys } from '../../src/http/keys.ts';
import { listen } from '../../src/http/server.ts';
import { followJournal } from '../../src/runtime/follower.ts';
import { openStore } from '../../src/store/database.ts';
import type { NewEvent } from '../../src/store/store.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { openAcks } from '../harness/acks.ts';
import { sampleEvents, type SampleEvent } from '../harness/sample-event.ts';
import { serve } from '../harness/serve.ts';
import { createSource, startMeter, type Source } from '../harness/source.ts';

/** The product's store and public door, with a source of events inside the process in place of agents. */

const HOST = '127.0.0.1';
/** No heartbeat while it is measured: readers are compared byte by byte. */
const HEARTBEAT_MS = 3_600_000;

const runs = new Map<string, number>();
const closers: (() => Promise<void> | void)[] = [];
let source: Source | null = null;
let append: ((events: readonly SampleEvent[]) => Promise<void>) | null = null;
let write: ((events: readonly NewEvent[]) => Promise<void>) | null = null;
let newRun: (() => { id: string; no: number }) | null = null;
/** A server that has something to look for, as every one does. */
const secrets = createSecrets({
  keys: {
    anthropic: { key: `sk-ant-${'bench0123456789'.repeat(6)}`, from: null },
    openai: { key: `sk-proj-${'bench9876543210'.repeat(10)}`, from: null },
  },
  providers: {},
  api_key: null,
  agents: {},
  env: { GITHUB_TOKEN: `ghp_${'bench0123456789'.repeat(3)}` },
});
const cleaner = secrets.cleaner();
const stopping = new AbortController();
let followed: ReturnType<typeof followJournal> | null = null;
let meter = startMeter();

const handlers = {
  /** Resolves with where it listens, and where it is told how far the readers are. */
  open: async ({ folder, synchronous }: { folder: string; synchronous: 'normal' | 'full' }) => {
    const store = openStore(join(folder, 'bench.sqlite'), { synchronous });
    const telemetry = createTelemetry({ level: 'error' });
    const keys = createKeys(store);
    const door = buildApp({
      flow: streamingOnly,
      store,
      keys,
      telemetry,
      version: '0.0.0-bench',
      host: HOST,
      allowedHosts: [],
      sse: { heartbeatMs: HEARTBEAT_MS },
    });
    const listening = await listen(door, { host: HOST, port: 0, keys, closeTimeoutMs: 500 });
    const acks = await openAcks();
    closers.push(
      () => acks.close(),
      listening.close,
      () => store.close(),
    );
    newRun = () => {
      // Events know their run by its number alone: no row is needed.
      const run = { id: newRunId(), no: runs.size + 1 };
      runs.set(run.id, run.no);
      append = (events) => store.write({ events: events.map((event) => stored(run.no, event)) });
      write = (events) => store.write({ events });
      acks.reset();
      source = createSource(append, acks);
      return run;
    };
    return { url: listening.url, ackPort: acks.port };
  },
  /** A run without events; what follows is said of this one. */
  run: () => need(newRun)().id,
  burst: (options: Parameters<Source['burst']>[0]) => need(source).burst(options),
  pace: (options: Parameters<Source['pace']>[0]) => need(source).pace(options),
  /** Stores so many events, in commits of 500. */
  fill: async ({ events }: { events: number }) => {
    for (let seq = 1; seq <= events; seq += 500) await need(append)(sampleEvents(seq, Math.min(500, events - seq + 1)));
  },
  /**
   * Follows a journal that somebody writes, as the runtime does, and stores its events as the flow does, in a new run. The journal
   * has to exist; `followed` has the end of it.
   */
  follow: ({ journal, attempt }: { journal: string; attempt: string }) => {
    const run = need(newRun)();
    const store = need(write);
    const caller = {
      runNo: run.no,
      runId: run.id,
      variation: 0,
      attempt: 0,
      attemptId: attempt,
      attemptNo: run.no,
      model: 'scripted/none',
    };
    followed = followJournal({
      attemptId: attempt,
      journal,
      lastSeq: 0,
      isAlive: () => true,
      onBatch: ({ envelopes }) =>
        store(envelopes.filter(({ type }) => type !== 'eof').map((envelope) => eventOf(caller, envelope, cleaner))),
      onTransport: (message) => process.stderr.write(`${message}\n`),
      signal: stopping.signal,
    });
    followed.catch(() => undefined);
    return run.id;
  },
  /** Whether the log was whole: numbers dense, and the hash over all lines right. */
  followed: async () => {
    const end = await followed;
    return end?.kind === 'eof' && end.complete;
  },
  /** From here on CPU is counted. */
  mark: () => {
    meter = startMeter();
  },
  used: () => meter.stop(),
};
export type StreamServer = typeof handlers;

serve(handlers, async () => {
  stopping.abort();
  for (const close of closers) await close();
});

/** What an agent's line is to the store: the text is made once. */
function stored(run: number, event: SampleEvent): NewEvent {
  return {
    run,
    variation: event.variation_id,
    attempt: run,
    seq: event.seq,
    span: 1,
    type: 'agent_output',
    data: JSON.stringify(event),
  };
}

function need<Value>(value: Value | null): Value {
  if (value === null) throw new Error('open and run come first');
  return value;
}

/** Only the stream is asked for here; the rest of the flow needs repositories and agents. */
const absent = (): Promise<never> => Promise.reject(new AppError('internal', 'The bench has only streams.'));
const streamingOnly: Flow = {
  submit: absent,
  list: absent,
  run: absent,
  status: absent,
  variation: absent,
  outputs: absent,
  compare: absent,
  patch: absent,
  diff: absent,
  select: absent,
  ship: absent,
  cancel: absent,
  retry: absent,
  prompt: absent,
  fork: absent,
  forget: absent,
  agents: { list: absent, view: absent, install: absent },
  info: absent,
  doctor: absent,
  states: absent,
  streamSource: (runId) => {
    const run = runs.get(runId);
    if (run === undefined) return Promise.reject(new AppError('run_not_found', `There is no run ${runId}.`));
    return Promise.resolve({ run, isOver: () => false });
  },
};
