import type { IncomingMessage, ServerResponse } from 'node:http';
import { AppError } from '../errors.ts';
import { spokenBy } from '../contract/dialect.ts';
import { MAX_REQUEST_BYTES, readBody } from './body.ts';
import { CallFault, dialectNames, dialectOfPath, routeOf } from './dialect.ts';
import { createClock, defaultTimeouts, forward, openConnections, type Timeouts } from './forward.ts';
import type { Caller, Gateway, ModelCall, ProviderConfig } from './gateway.ts';
import { judge, type Judged } from './judge.ts';
import { createMask, type Mask } from './mask.ts';
import { createMeter, type Meter } from './meter.ts';
import { readModelRequest } from './model-request.ts';
import { createPrices, type PriceTable, type Rates } from './prices.ts';
import { relay, sendFault } from './relay.ts';
import { createScriptedModel } from './scripted/answer.ts';
import type { Script } from './scripted/script.ts';
import { findTarget, providerPart } from './target.ts';
import { noUsage, unknownUsage } from './usage.ts';

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
  log?: { warn(facts: object, message: string): void };
}

/** What is known of a call while it goes on. */
interface Progress {
  status: number;
  sent: boolean;
  /** Whether it only asks how many tokens a request has, which costs nothing. */
  counting: boolean;
  mask: Mask;
  answer: Judged | null;
  meter: Meter | null;
  fault: CallFault | null;
}

/** The gateway. Nothing is connected to until the first call. */
export function createGateway(deps: GatewayDeps): Gateway {
  const timeouts: Timeouts = { ...defaultTimeouts, ...deps.timeouts };
  const connections = openConnections(deps.proxyEnv);
  const scripted = new Map(
    Object.entries(deps.scripts ?? {}).map(([name, script]) => [name, createScriptedModel(script)]),
  );
  const prices = createPrices(scriptPrices(deps.scripts ?? {}), deps.prices);
  const calls = new Map<AbortController, Promise<void>>();
  let closing = false;

  async function serve(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    call: AbortController,
    progress: Progress,
  ): Promise<void> {
    const { pathname, search, searchParams } = new URL(request.url ?? '/', 'http://gateway');
    const route = routeOf(pathname);
    if (route === undefined) throw new CallFault(404, 'not_found', noRoute(pathname));
    if (request.method !== 'POST')
      throw new CallFault(405, 'method_not_allowed', `${pathname} takes POST, not ${request.method}.`);
    if (route.dialect === 'gemini' && route.named?.stream === true && searchParams.get('alt') !== 'sse') {
      throw new CallFault(400, 'invalid_request', 'A stream is served as events only: ask for it with ?alt=sse.');
    }
    const { dialect } = route;
    progress.counting = route.what === 'count';
    const target = findTarget(caller.model, deps.providers, scripted);
    const { providerName, provider } = target;
    progress.mask = createMask([provider.key, passwordOf(provider.baseUrl)]);
    if (!spokenBy[provider.kind].includes(dialect)) {
      const spoken = spokenBy[provider.kind].map((each) => dialectNames[each]).join(' and ');
      throw new CallFault(
        400,
        'invalid_request',
        `The provider ${providerName} speaks ${spoken}, not ${dialectNames[dialect]}. Let the agent speak that, or choose a model of another provider.`,
      );
    }
    const body = await readBody(request, call.signal, deps.maxRequestBytes ?? MAX_REQUEST_BYTES);
    const asked = readModelRequest(body, route);
    if (asked.model !== caller.model && asked.model !== target.model) {
      throw new CallFault(403, 'model_not_allowed', `This attempt may use ${caller.model}, not ${asked.model}.`);
    }
    const inBody = route.named === null ? undefined : asked.value('model');
    if (inBody !== undefined && inBody !== asked.model && inBody !== `models/${asked.model}`)
      throw new CallFault(400, 'invalid_request', 'The body names another model than the path.');
    if (dialect === 'responses' && asked.value('background') === true) {
      throw new CallFault(400, 'invalid_request', 'A background response cannot be metered: leave `background` out.');
    }
    const forProvider = asked.forProvider(target.model);
    const clock = createClock(call);
    progress.sent = true;
    try {
      const script = scripted.get(providerName);
      const answer =
        provider.kind === 'scripted' && script !== undefined
          ? await script.answer({
              route,
              model: target.model,
              body: forProvider,
              conversation: caller.attemptId,
              signal: call.signal,
            })
          : await forward(
              {
                providerName,
                provider,
                route,
                model: target.model,
                body: forProvider,
                query: search,
                clientHeaders: request.headers,
                signal: call.signal,
                clock,
                timeouts,
              },
              connections,
            );
      progress.answer = await judge(answer, { dialect, providerName, provider, mask: progress.mask });
      progress.status = progress.answer.status;
      progress.meter = createMeter(dialect, progress.answer.stream);
      await relay(progress.answer, {
        providerName,
        response,
        meter: progress.meter,
        mask: progress.mask,
        signal: call.signal,
        clock,
        timeouts,
      });
    } finally {
      clock.clear();
    }
  }

  async function handle(
    request: IncomingMessage,
    response: ServerResponse,
    caller: Caller,
    record: (call: ModelCall) => void,
  ): Promise<void> {
    const at = new Date();
    const started = performance.now();
    const dialect = dialectOfPath((request.url ?? '').split('?', 1)[0] ?? '');
    const call = new AbortController();
    // 499: what nginx writes of a client that left before it had a status.
    const progress: Progress = {
      status: 499,
      sent: false,
      counting: false,
      mask: createMask([]),
      answer: null,
      meter: null,
      fault: null,
    };
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
      await serve(request, response, caller, call, progress);
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
        const result = sumUp(progress, caller, prices);
        const durationMs = Math.round(performance.now() - started);
        if (result.error !== null)
          deps.log?.warn(
            { attempt: caller.attemptId, model: caller.model, status: progress.status, error: result.error },
            'model call failed',
          );
        record({
          at: at.toISOString(),
          provider: providerPart(caller.model),
          model: caller.model,
          dialect,
          status: progress.status,
          durationMs,
          ...result,
        });
      } finally {
        done.resolve();
      }
    }
  }

  return {
    handle,
    check(model) {
      const { provider } = findTarget(model, deps.providers, scripted);
      return spokenBy[provider.kind];
    },
    async close() {
      closing = true;
      for (const call of calls.keys()) call.abort(shuttingDown());
      await Promise.all(calls.values());
      connections.http.destroy();
      connections.https.destroy();
    },
  };
}

function sumUp(
  progress: Progress,
  caller: Caller,
  prices: PriceTable,
): Pick<ModelCall, 'tokens' | 'costMicrodollars' | 'error'> {
  const { answer, fault, mask, counting } = progress;
  const error = fault?.note ?? answer?.error?.note ?? null;
  if (answer === null || answer.error !== null) {
    const nothingSpent =
      !progress.sent || counting || fault?.nothingSpent === true || answer?.error?.nothingSpent === true;
    const { tokens } = split(nothingSpent ? noUsage : unknownUsage);
    return { tokens, costMicrodollars: nothingSpent ? 0 : null, error: error === null ? null : mask.text(error) };
  }
  if (counting) return { ...split(noUsage), costMicrodollars: 0, error: error === null ? null : mask.text(error) };
  const metered = progress.meter?.end() ?? { usage: unknownUsage, complete: false, error: null };
  const { tokens, usage } = split(metered.usage);
  const reported = metered.error === null ? null : `provider reported in its answer: ${metered.error.slice(0, 1000)}`;
  const why = reported ?? error ?? (metered.complete ? null : 'the answer stopped before its end');
  return { tokens, costMicrodollars: prices.costOf(caller.model, usage), error: why === null ? null : mask.text(why) };
}

function noRoute(path: string): string {
  return `The gateway has no ${path}. It has /v1/messages (and /count_tokens under it), /v1/chat/completions, /v1/responses and /v1beta/models/<model> with :generateContent, :streamGenerateContent and :countTokens.`;
}

function split(usage: typeof unknownUsage): { tokens: ModelCall['tokens']; usage: typeof unknownUsage } {
  const { input, output, cacheRead, cacheWrite } = usage;
  return { tokens: { input, output, cacheRead, cacheWrite }, usage };
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

function passwordOf(baseUrl: string): string | null {
  const password = URL.parse(baseUrl)?.password ?? '';
  return password === '' ? null : decodeURIComponent(password);
}

function shuttingDown(): CallFault {
  return new CallFault(503, 'shutting_down', 'AIdeator is shutting down.');
}

function toFault(thrown: unknown): CallFault {
  if (thrown instanceof CallFault) return thrown;
  if (thrown instanceof AppError) {
    return new CallFault(
      thrown.status,
      thrown.code,
      thrown.hint === undefined ? thrown.message : `${thrown.message} ${thrown.hint}`,
      { cause: thrown },
    );
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CallFault(500, 'internal', `The gateway failed: ${message}`, { cause: thrown });
}
