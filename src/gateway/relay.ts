import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { CallFault, errorBody, errorEvent, statusFor, type Dialect } from './dialect.ts';
import type { Clock, Timeouts } from './forward.ts';
import type { Judged } from './judge.ts';
import type { Mask } from './mask.ts';
import type { Meter } from './meter.ts';

export interface Relay {
  providerName: string;
  response: ServerResponse;
  meter: Meter;
  mask: Mask;
  signal: AbortSignal;
  clock: Clock;
  timeouts: Timeouts;
}

/**
 * Passes an answer on, byte by byte as it comes, while the meter listens. The provider is read only as fast as the client
 * reads. Errors: the signal's reason, or a CallFault where the provider breaks off.
 */
export async function relay(
  answer: Judged,
  { providerName, response, meter, mask, signal, clock, timeouts }: Relay,
): Promise<void> {
  response.writeHead(answer.status, answer.headers);
  response.flushHeaders();
  const masked = mask.stream();
  clock.set(timeouts.idle, () =>
    response.writableNeedDrain
      ? new CallFault(499, 'provider_error', `The agent read nothing of the answer for ${timeouts.idle / 1000} s.`)
      : new CallFault(
          504,
          'provider_error',
          `The provider ${providerName} stopped in the middle of its answer: nothing came for ${timeouts.idle / 1000} s.`,
        ),
  );
  try {
    for await (const chunk of answer.body) {
      signal.throwIfAborted();
      meter.feed(chunk);
      const bytes = masked.push(chunk);
      if (bytes.length > 0 && !response.write(bytes)) await once(response, 'drain', { signal });
      clock.refresh();
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw new CallFault(
      502,
      'provider_error',
      `The connection to the provider ${providerName} broke in the middle of its answer.`,
      { cause: error },
    );
  } finally {
    clock.clear();
  }
  signal.throwIfAborted();
  response.end(masked.end());
}

/**
 * Tells the client what ended its call: as an error of its dialect, as an event where a stream of events has begun (the
 * connection is then cut, so that nobody takes the answer for whole), by the cut alone in the middle of anything else.
 */
export function sendFault(
  response: ServerResponse,
  dialect: Dialect,
  fault: CallFault,
  begun: { stream: boolean; atBoundary: boolean } | null,
): void {
  if (response.destroyed || response.writableEnded) return;
  if (!response.headersSent) {
    const body = errorBody(dialect, fault);
    response.writeHead(statusFor(dialect, fault.status), {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter }),
      // The makers' own clients heed it, whatever they make of the status.
      ...(fault.status === 402 ? { 'x-should-retry': 'false' } : {}),
    });
    response.end(body);
    return;
  }
  if (begun?.stream !== true || response.writableNeedDrain) {
    response.destroy();
    return;
  }
  response.write(`${begun.atBoundary ? '' : '\n\n'}${errorEvent(dialect, fault)}`, () => response.destroy());
}
