import { setTimeout as sleep } from 'node:timers/promises';
import { createParser } from 'eventsource-parser';
import type { Event } from '../contract/api.ts';
import { AppError, toAppError } from '../errors.ts';

export interface StreamOptions {
  /** The id of the last event that is known already. */
  after?: number | undefined;
  variation?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Milliseconds without a byte after which the connection is taken for dead. The server sends a heartbeat every 15 s. */
  silence?: number | undefined;
}

export type StreamItem =
  | { kind: 'event'; event: Event; /** The event's JSON text, as it was sent. */ text: string }
  /** The cursor was unknown or pruned: the log begins anew, at the first event there is. */
  | { kind: 'reset'; data: Record<string, unknown> }
  /** The connection was lost, or the try number `tries` to open it again failed; the next one is in `inMs`. */
  | { kind: 'lost'; reason: string; tries: number; inMs: number }
  /** It is back. */
  | { kind: 'back' };

export type Open = (
  query: Record<string, number | undefined>,
  headers: Record<string, string>,
  signal: AbortSignal,
) => Promise<Response>;

const FIRST_WAIT = 200;
const LONGEST_WAIT = 5000;
const SILENCE = 45_000;

/**
 * A run's events in order, each once, until the run is over and the server closed the stream. `run_complete` alone is not the end: a
 * run with a retried variation has more than one, and a choice may come after it. A cut connection is opened again for ever, from the last event
 * that was handed over. Ends early only when `signal` fires, or with the error of a server that refuses (no such run, no key).
 */
export async function* followStream(
  open: Open,
  relocate: () => Promise<void>,
  options: StreamOptions,
): AsyncGenerator<StreamItem, void> {
  const stopped = (): boolean => options.signal?.aborted ?? false;
  let last = options.after ?? 0;
  let retry = FIRST_WAIT;
  let failures = 0;
  let lost = false;
  let complete = false;
  let everOpen = false;
  while (!stopped()) {
    let reason = 'the server closed the connection';
    try {
      for await (const item of readOnce(open, last, options)) {
        if (item.kind === 'over') return;
        if (item.kind === 'open') {
          if (lost) yield { kind: 'back' };
          lost = false;
          everOpen = true;
        } else if (item.kind === 'retry') {
          retry = item.ms;
        } else if (item.kind === 'reset') {
          failures = 0;
          last = 0;
          yield item;
        } else if (item.event.id > last) {
          failures = 0;
          last = item.event.id;
          complete = isComplete(item.event) ?? complete;
          yield item;
        }
      }
      if (complete) return;
    } catch (error) {
      if (stopped()) return;
      const failure = toAppError(error);
      // What stands in front of a server answers in its place while it is started anew; at the first try it is the wrong address.
      const passing = failure.code === 'not_aideator' ? everOpen : isPassing(failure);
      if (!passing) throw failure;
      reason = failure.message;
    }
    if (stopped()) return;
    const inMs = Math.min(LONGEST_WAIT, retry * 2 ** failures);
    failures += 1;
    lost = true;
    yield { kind: 'lost', reason, tries: failures - 1, inMs };
    await sleep(inMs, undefined, { signal: options.signal }).catch(() => undefined);
    // A server that cannot be found or started now may be there later: the next try says so again.
    if (!stopped()) await relocate().catch(() => undefined);
  }
}

/** Whether an event says that the run is over, or that it goes on; null = neither. */
function isComplete({ type, data }: Event): boolean | null {
  if (type === 'run_complete') return true;
  return type === 'run_status' && (data['status'] === 'queued' || data['status'] === 'running') ? false : null;
}

/** Refusals are final; what a restart or a moment mends is not. */
function isPassing(error: AppError): boolean {
  return (
    error.code === 'server_unreachable' ||
    error.code === 'shutting_down' ||
    error.code === 'too_many_requests' ||
    error.status >= 500
  );
}

type Item =
  | { kind: 'open' }
  | { kind: 'over' }
  | { kind: 'retry'; ms: number }
  | Extract<StreamItem, { kind: 'event' | 'reset' }>;

async function* readOnce(
  open: Open,
  last: number,
  { variation, signal, silence = SILENCE }: StreamOptions,
): AsyncGenerator<Item> {
  const control = new AbortController();
  const stop = (): void => control.abort();
  signal?.addEventListener('abort', stop, { once: true });
  const watchdog = setTimeout(
    () => control.abort(new AppError('server_unreachable', `nothing was heard for ${silence / 1000} s`)),
    silence,
  );
  try {
    const headers = { accept: 'text/event-stream', ...(last === 0 ? {} : { 'last-event-id': String(last) }) };
    const response = await open(
      { variation_id: variation, after: last === 0 ? undefined : last },
      headers,
      control.signal,
    );
    yield { kind: 'open' };
    // The run is over, and nothing of it is after the cursor.
    if (response.status === 204) yield { kind: 'over' };
    let items: Item[] = [];
    const parser = createParser({
      onEvent: (message) => {
        const item = itemOf(message.event, message.id, message.data);
        if (item !== null) items.push(item);
      },
      onRetry: (ms) => items.push({ kind: 'retry', ms }),
    });
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      watchdog.refresh();
      parser.feed(decoder.decode(chunk, { stream: true }));
      const ready = items;
      items = [];
      yield* ready;
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    const why: unknown = control.signal.reason;
    throw why instanceof AppError
      ? why
      : new AppError('server_unreachable', error instanceof Error ? error.message : String(error), { cause: error });
  } finally {
    clearTimeout(watchdog);
    signal?.removeEventListener('abort', stop);
    control.abort();
  }
}

function itemOf(type: string | undefined, id: string | undefined, text: string): Item | null {
  if (type === undefined || type === 'heartbeat') return null;
  const data: unknown = JSON.parse(text);
  if (typeof data !== 'object' || data === null) return null;
  const record = { ...data };
  if (type === 'reset') return { kind: 'reset', data: record };
  return id === undefined ? null : { kind: 'event', event: { id: Number(id), type, data: record }, text };
}
