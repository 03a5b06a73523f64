import { pino, destination as pinoDestination } from 'pino';
import type { DestinationStream, Level, LevelWithSilent } from 'pino';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

/** Logs and metrics: the one door to both. No other file knows pino or prom-client. */

export type LogLevel = LevelWithSilent;

type Write = (facts: Readonly<Record<string, unknown>>, message: string) => void;

/** Writes JSON lines to stderr. Facts first, then the message. Never a secret: pass ids, not headers or keys. */
export type Log = Readonly<Record<Level, Write>> & { child(facts: Record<string, unknown>): Log };

/** One model call, as far as it is counted. null = unknown, and not added to any sum. */
export interface CountedCall {
  provider: string;
  status: number;
  tokens: { input: number | null; output: number | null; cacheRead: number | null; cacheWrite: number | null };
  costMicrodollars: number | null;
}

interface BudgetAmount {
  microdollars: number;
  tokens: number;
}

/** How many runs and variations are in which status right now. */
export interface StateCounts {
  runs: Readonly<Record<string, number>>;
  variations: Readonly<Record<string, number>>;
}

export interface Metrics {
  /** A request was answered (a stream: has ended). `route` is the pattern, never the path: paths have no bound. */
  request(facts: { route: string; method: string; status: number; seconds: number }): void;
  /** Where the counts by status come from; asked at each scrape. */
  states(source: () => Promise<StateCounts>): void;
  /** Where the number of open event streams comes from; asked at each scrape. */
  subscribers(source: () => number): void;
  activeAttempts(count: number): void;
  committed(events: number): void;
  streamed(bytes: number): void;
  modelCall(call: CountedCall): void;
  /** One more model call, or one less, waits: for a provider that asked to wait, or for room in a budget. */
  modelCallsWaiting(what: { provider: string; why: 'provider' | 'budget' }, change: 1 | -1): void;
  /** A model call was refused because of a budget. */
  budgetRefused(scope: string): void;
  /** What the calls of this UTC day count with, and what they may. */
  budgetDay(account: { used: BudgetAmount; limit: Record<keyof BudgetAmount, number | null> }): void;
  /** A connection to a host of `sandbox.allow_hosts` was made, was not, or has ended. Bytes from the agent and to it. */
  egress(what: { kind: 'opened' | 'refused' } | { kind: 'closed'; sent: number; received: number }): void;
  /** Ranges of sequence numbers that never arrived. */
  gaps(count: number): void;
  transportProblem(): void;
  /** Prometheus text. */
  render(): Promise<string>;
  readonly contentType: string;
}

export interface Telemetry {
  log: Log;
  metrics: Metrics;
}

/**
 * @param options.destination where log lines go; stderr when left out
 * @param options.redact takes out of a line of JSON what nobody is to see
 */
export function createTelemetry(options: {
  level: LogLevel;
  destination?: DestinationStream;
  redact?: (line: string) => string;
}): Telemetry {
  const { level, destination = pinoDestination({ dest: 2, sync: true }), redact } = options;
  // Cleaned as lines, whatever in them a secret came with: an error's message, its cause, a path.
  const clean = redact === undefined ? destination : { write: (line: string) => destination.write(redact(line)) };
  return { log: createLog(level, clean), metrics: createMetrics() };
}

function createLog(level: LogLevel, stream: DestinationStream): Log {
  return pino(
    {
      level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      // A second fence: nobody passes these, and if somebody does, they stay here.
      redact: {
        paths: [
          'authorization',
          'token',
          'key',
          'api_key',
          'headers',
          '*.authorization',
          '*.token',
          '*.key',
          '*.api_key',
        ],
        censor: '[secret]',
      },
    },
    stream,
  );
}

function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const counter = <Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> =>
    new Counter({ name: `aideator_${name}`, help, labelNames, registers });

  const requests = counter('http_requests_total', 'Requests answered.', ['route', 'method', 'status']);
  const durations = new Histogram({
    name: 'aideator_http_request_duration_seconds',
    help: 'Time to answer a request, event streams left out.',
    labelNames: ['route', 'method'],
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers,
  });
  const events = counter('events_committed_total', 'Events stored.', []);
  const bytes = counter('sse_bytes_total', 'Bytes of events given to sockets.', []);
  const gaps = counter('gaps_total', 'Ranges of sequence numbers that never arrived.', []);
  const transport = counter(
    'transport_problems_total',
    'Lines from recorders that could not be read, and the like.',
    [],
  );
  const calls = counter('model_calls_total', 'Model calls through the gateway.', ['provider', 'status']);
  const tokens = counter('model_tokens_total', 'Tokens as the providers counted them.', ['provider', 'kind']);
  const cost = counter('model_cost_microdollars_total', 'Cost of the calls whose price is known.', ['provider']);
  const unpriced = counter('model_calls_unpriced_total', 'Calls whose price is unknown.', ['provider']);
  const waiting = new Gauge({
    name: 'aideator_model_calls_waiting',
    help: 'Model calls that wait now: for a provider that asked to wait, or for room in a budget.',
    labelNames: ['provider', 'why'],
    registers,
  });
  const refused = counter('budget_refusals_total', 'Model calls refused because a budget is used up.', ['scope']);
  const day = new Gauge({
    name: 'aideator_budget_day',
    help: 'What the model calls of this UTC day have used, and the limit where there is one.',
    labelNames: ['unit', 'what'],
    registers,
  });
  const tunnels = counter('egress_connections_total', 'Connections to hosts of sandbox.allow_hosts.', ['outcome']);
  const tunnelled = counter('egress_bytes_total', 'Bytes through those that have ended.', ['direction']);
  const attempts = new Gauge({ name: 'aideator_active_attempts', help: 'Attempts that run now.', registers });

  return {
    contentType: registry.contentType,
    request({ route, method, status, seconds }) {
      requests.inc({ route, method, status });
      if (!route.endsWith('/stream')) durations.observe({ route, method }, seconds);
    },
    states(source) {
      let last: Promise<StateCounts> | undefined;
      const gauge = (name: 'runs' | 'variations', ask: () => Promise<StateCounts>): Gauge<'status'> =>
        new Gauge({
          name: `aideator_${name}`,
          help: `Stored ${name} by status.`,
          labelNames: ['status'],
          registers,
          async collect() {
            const counts = (await ask())[name];
            this.reset();
            for (const [status, count] of Object.entries(counts)) this.set({ status }, count);
          },
        });
      // Both gauges of one scrape share one question to the store.
      gauge('runs', () => (last = source()));
      gauge('variations', () => last ?? source());
    },
    subscribers(source) {
      new Gauge({
        name: 'aideator_sse_subscribers',
        help: 'Open event streams.',
        registers,
        collect() {
          this.set(source());
        },
      });
    },
    activeAttempts: (count) => attempts.set(count),
    committed: (count) => events.inc(count),
    streamed: (count) => bytes.inc(count),
    egress(what) {
      if (what.kind !== 'closed') {
        tunnels.inc({ outcome: what.kind });
        return;
      }
      tunnelled.inc({ direction: 'out' }, what.sent);
      tunnelled.inc({ direction: 'in' }, what.received);
    },
    gaps: (count) => gaps.inc(count),
    transportProblem: () => transport.inc(),
    budgetRefused: (scope) => refused.inc({ scope }),
    budgetDay({ used, limit }) {
      for (const unit of ['microdollars', 'tokens'] as const) {
        day.set({ unit, what: 'used' }, used[unit]);
        const most = limit[unit];
        if (most !== null) day.set({ unit, what: 'limit' }, most);
      }
    },
    modelCallsWaiting: (what, change) => waiting.inc(what, change),
    modelCall({ provider, status, tokens: used, costMicrodollars }) {
      calls.inc({ provider, status });
      const kinds = {
        input: used.input,
        output: used.output,
        cache_read: used.cacheRead,
        cache_write: used.cacheWrite,
      };
      for (const [kind, count] of Object.entries(kinds)) if (count !== null) tokens.inc({ provider, kind }, count);
      if (costMicrodollars === null) unpriced.inc({ provider });
      else cost.inc({ provider }, costMicrodollars);
    },
    render: () => registry.metrics(),
  };
}
