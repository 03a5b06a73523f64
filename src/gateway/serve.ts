import type { IncomingMessage, ServerResponse } from 'node:http';
import { accept, type Accepted } from './accept.ts';
import { claimOf } from './claim.ts';
import { CallFault } from './dialect.ts';
import { createClock, forward, type Answer, type Clock, type Connections, type Timeouts } from './forward.ts';
import type { Booking, Caller } from './gateway.ts';
import { judge, type Judged } from './judge.ts';
import type { KeyGuard } from './key-guard.ts';
import { heardOf, type Heard, type Limiter } from './limiter.ts';
import { createMask } from './mask.ts';
import { createMeter } from './meter.ts';
import type { Progress } from './progress.ts';
import type { PriceTable } from './prices.ts';
import { relay } from './relay.ts';
import type { ScriptedModel } from './scripted/answer.ts';
import type { Target } from './target.ts';

/** What all calls of a gateway share. */
export interface Shared {
  find(model: string): Target;
  scripted: ReadonlyMap<string, ScriptedModel>;
  limiterOf(providerName: string): Limiter;
  keys: KeyGuard;
  prices: PriceTable;
  connections: Connections;
  timeouts: Timeouts;
  maxRequestBytes: number;
  /** How long a call may wait in all for a provider that asked to wait (ms). */
  patienceMs: number;
  /** One more, or one less, waits for a provider. */
  onWaiting(providerName: string, change: 1 | -1): void;
  /** Takes out of words what nobody is to see. */
  redact(text: string): string;
}

export interface Serving {
  request: IncomingMessage;
  response: ServerResponse;
  caller: Caller;
  booking: Booking;
  call: AbortController;
  progress: Progress;
}

/** One call, from its request to the last byte of its answer. Errors: CallFault, AppError, the signal's reason. */
export async function serve(serving: Serving, shared: Shared): Promise<void> {
  const { request, response, caller, call, progress } = serving;
  const { signal } = call;
  const accepted = await accept(request, caller, {
    find: (model) => shared.find(model),
    maxBytes: shared.maxRequestBytes,
    signal,
    onRoute: ({ what }) => {
      progress.counting = what === 'count';
    },
  });
  const { providerName, provider } = accepted.target;
  progress.model = accepted.fullName;
  progress.mask = createMask(
    [provider.key, passwordOf(provider.baseUrl), ...secretsIn(provider.headers)],
    shared.redact,
  );
  shared.keys.check(providerName, provider.key);
  if (!progress.counting) await serving.booking.reserve(claimOf(accepted, shared.prices), signal);
  const clock = createClock(call);
  const { whole } = shared.timeouts;
  const end = setTimeout(
    () =>
      call.abort(
        new CallFault(504, 'provider_error', `The provider ${providerName} was not done after ${whole / 1000} s.`),
      ),
    whole,
  ).unref();
  try {
    const answer = await askPatiently(serving, accepted, shared, clock);
    progress.answer = answer;
    progress.status = answer.status;
    progress.meter = createMeter(accepted.route.dialect, answer.stream);
    await relay(answer, {
      providerName,
      response,
      meter: progress.meter,
      mask: progress.mask,
      signal,
      clock,
      timeouts: shared.timeouts,
    });
  } finally {
    clock.clear();
    clearTimeout(end);
  }
}

/**
 * Asks the provider, and again where it said when: nothing was spent on a request that was refused so, and of the harnesses not
 * all wait as long as they are told to. What cannot be waited for goes on to the agent.
 */
async function askPatiently(
  { caller, booking, call, progress }: Serving,
  accepted: Accepted,
  shared: Shared,
  clock: Clock,
): Promise<Judged> {
  const { signal } = call;
  const { providerName } = accepted.target;
  const limiter = shared.limiterOf(providerName);
  let noted = false;
  for (;;) {
    const from = performance.now();
    let waits = false;
    const waited = (): void => {
      if (!waits) return;
      progress.waitedMs += performance.now() - from;
      shared.onWaiting(providerName, -1);
    };
    const turn = await limiter
      .enter(caller.attemptId, shared.patienceMs - progress.waitedMs, signal, (atLeast) => {
        waits = true;
        shared.onWaiting(providerName, 1);
        if (noted) return;
        noted = true;
        booking.note(`The provider ${providerName} asked to wait ${Math.ceil(atLeast / 1000)} s; a model call waits.`, {
          code: 'provider_waiting',
          provider: providerName,
          seconds: Math.ceil(atLeast / 1000),
        });
      })
      .finally(waited);
    let heard: Heard = { kind: 'failed' };
    try {
      progress.sent = true;
      const answer = await ask(caller, accepted, shared, clock, call, progress);
      heard = heardOf(answer.status, answer.headers['retry-after'], answer.error?.note);
      if (!mayAskAgain(heard, shared.patienceMs - progress.waitedMs)) return answer;
    } catch (error) {
      if (error instanceof CallFault) heard = heardOf(error.status, error.retryAfter);
      if (signal.aborted || !mayAskAgain(heard, shared.patienceMs - progress.waitedMs)) throw error;
    } finally {
      turn.over(heard);
      clock.clear();
    }
    progress.sent = false;
  }
}

function mayAskAgain(heard: Heard, patienceMs: number): boolean {
  return heard.kind === 'limited' && heard.waitMs !== null && heard.waitMs <= patienceMs;
}

async function ask(
  caller: Caller,
  { route, target, body, query, clientHeaders }: Accepted,
  shared: Shared,
  clock: Clock,
  { signal }: AbortController,
  { mask }: Progress,
): Promise<Judged> {
  const { providerName, provider, model } = target;
  const script = shared.scripted.get(providerName);
  const answer: Answer =
    provider.kind === 'scripted' && script !== undefined
      ? await script.answer({ route, model, body, conversation: caller.attemptId, signal })
      : await forward(
          {
            providerName,
            provider,
            route,
            model,
            body,
            query,
            clientHeaders,
            signal,
            clock,
            timeouts: shared.timeouts,
          },
          shared.connections,
        );
  try {
    return await judge(answer, { dialect: route.dialect, providerName, provider, mask });
  } catch (error) {
    if (error instanceof CallFault && error.code === 'provider_key_refused')
      shared.keys.refused(providerName, provider.key, error);
    throw error;
  }
}

function passwordOf(baseUrl: string): string | null {
  const password = URL.parse(baseUrl)?.password ?? '';
  return password === '' ? null : decodeURIComponent(password);
}

/** Of the headers that are configured, those that may be a secret: a short word would be taken out of every sentence. */
function secretsIn(headers: Readonly<Record<string, string>> = {}): string[] {
  return Object.values(headers).filter((value) => value.length >= 16);
}
