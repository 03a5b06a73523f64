import type { IncomingMessage, ServerResponse } from 'node:http';
import { spokenBy } from '../contract/dialect.ts';
import { MAX_REQUEST_BYTES } from './body.ts';
import { CallFault, dialectOfPath } from './dialect.ts';
import { defaultTimeouts, openConnections, type Timeouts } from './forward.ts';
import type { Booking, Caller, Gateway, ProviderConfig } from './gateway.ts';
import { createKeyGuard } from './key-guard.ts';
import { createLimiter, type Limiter } from './limiter.ts';
import { createPrices, type PriceTable, type Rates } from './prices.ts';
import { begin, sumUp, toFault } from './progress.ts';
import { sendFault } from './relay.ts';
import { createScriptedModel } from './scripted/answer.ts';
import type { Script } from './scripted/script.ts';
import { serve, type Shared } from './serve.ts';
import { findTarget, providerPart } from './target.ts';

export interface GatewayDeps {
  providers: Readonly<Record<string, ProviderConfig>>;
  prices: PriceTable;
  /** For providers of kind `scripted`, by provider name. */
  scripts?: Readonly<Record<string, Script>>;
  timeouts?: Partial<Timeouts>;
  /** An environment whose HTTP_PROXY, HTTPS_PROXY and NO_PROXY are obeyed on the way to providers. */
  proxyEnv?: Record<string, string | undefined>;
  /** Largest request body in bytes. */
  maxRequestBytes?: number;
  /** How long a call may wait for a provider that asked to wait (ms). */
  patienceMs?: number;
  /** One more, or one less, waits for a provider. */
  onWaiting?: (providerName: string, change: 1 | -1) => void;
  /** Takes out of words what nobody is to see, beside the secrets of the provider itself. */
  redact?: (text: string) => string;
  log?: { warn(facts: object, message: string): void };
}

/** Harnesses give up after five minutes without a first byte, and a model may think for some of them. */
const PATIENCE_MS = 120_000;

/** The gateway. Nothing is connected to until the first call. */
export function createGateway(deps: GatewayDeps): Gateway {
  const { redact = (text: string): string => text } = deps;
  const connections = openConnections(deps.proxyEnv);
  const scripted = new Map(
    Object.entries(deps.scripts ?? {}).map(([name, script]) => [name, createScriptedModel(script)]),
  );
  const prices = createPrices(scriptPrices(deps.scripts ?? {}), deps.prices);
  const calls = new Map<AbortController, Promise<void>>();
  const limiters = new Map<string, Limiter>();
  const shared: Shared = {
    // A provider as it is now: its key stays the same for all of a call.
    find: (model) => {
      const target = findTarget(model, deps.providers, scripted);
      return { ...target, provider: { ...target.provider } };
    },
    scripted,
    limiterOf: (name) => {
      const limiter = limiters.get(name) ?? createLimiter(name);
      limiters.set(name, limiter);
      return limiter;
    },
    keys: createKeyGuard(),
    prices,
    connections,
    timeouts: { ...defaultTimeouts, ...deps.timeouts },
    maxRequestBytes: deps.maxRequestBytes ?? MAX_REQUEST_BYTES,
    patienceMs: deps.patienceMs ?? PATIENCE_MS,
    onWaiting: (name, change) => deps.onWaiting?.(name, change),
    redact,
  };
  let closing = false;

  async function handle(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    booking: Booking,
  ): Promise<void> {
    const at = new Date();
    const started = performance.now();
    const dialect = dialectOfPath((request.url ?? '').split('?', 1)[0] ?? '');
    const call = new AbortController();
    const progress = begin(caller.model, redact);
    const left = (): void => {
      if (!response.writableFinished)
        call.abort(new CallFault(499, 'provider_error', 'The agent closed its connection before the answer was over.'));
    };
    response.on('close', left);
    response.on('error', left);
    const done = Promise.withResolvers<void>();
    calls.set(call, done.promise);
    try {
      if (closing) throw shuttingDown();
      if (response.destroyed) left();
      call.signal.throwIfAborted();
      await serve({ request, response, caller, booking, call, progress }, shared);
    } catch (thrown) {
      const reason: unknown = call.signal.aborted ? call.signal.reason : thrown;
      progress.fault = toFault(reason);
      if (!response.headersSent) progress.status = progress.fault.status;
      const begun =
        progress.answer === null
          ? null
          : { stream: progress.answer.stream, atBoundary: progress.meter?.atBoundary() ?? false };
      sendFault(response, dialect, progress.fault, begun);
      // The rest of an upload that nobody wants would hold up the connection's next request.
      request.resume();
    } finally {
      // Whatever of the provider's answer is still open ends here.
      call.abort(new CallFault(499, 'provider_error', 'The call is over.'));
      calls.delete(call);
      try {
        const result = sumUp(progress, prices);
        const { model, status, waitedMs } = progress;
        const durationMs = Math.round(performance.now() - started);
        if (result.error !== null)
          deps.log?.warn({ attempt: caller.attemptId, model, status, error: result.error }, 'model call failed');
        booking.settle({
          at: at.toISOString(),
          provider: providerPart(model),
          model,
          dialect,
          status,
          durationMs,
          waitedMs: Math.round(waitedMs),
          ...result,
        });
      } finally {
        done.resolve();
      }
    }
  }

  return {
    handle,
    check: (model) => spokenBy[findTarget(model, deps.providers, scripted).provider.kind],
    hasPrice: (model) => prices.priceOf(model) !== undefined,
    async close() {
      closing = true;
      for (const call of calls.keys()) call.abort(shuttingDown());
      await Promise.all(calls.values());
      connections.http.destroy();
      connections.https.destroy();
    },
  };
}

function scriptPrices(scripts: Readonly<Record<string, Script>>): Record<string, Rates> {
  const entries: Record<string, Rates> = {};
  for (const [providerName, script] of Object.entries(scripts)) {
    for (const [name, { price }] of Object.entries(script.models)) {
      if (price !== undefined) entries[`${providerName}/${name}`] = price;
    }
  }
  return entries;
}

function shuttingDown(): CallFault {
  return new CallFault(503, 'shutting_down', 'AIdeator is shutting down.');
}
