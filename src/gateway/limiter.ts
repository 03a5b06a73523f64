import { CallFault } from './dialect.ts';

/**
 * What one provider has said of waiting, heeded by all calls to it: after a 429 or 529 nobody asks before its time is up, then one
 * call asks, then two, then four. Who waits gets a turn variation by variation, so that one which asks a lot keeps none of the
 * others waiting.
 */
export interface Limiter {
  /**
   * Resolves when it is this caller's turn. Errors: a CallFault with the provider's own status where the wait would be longer
   * than `patienceMs`; the signal's reason.
   *
   * @param onWait called once if it has to wait: for how long at least (ms)
   */
  enter(who: string, patienceMs: number, signal: AbortSignal, onWait: (milliseconds: number) => void): Promise<Turn>;
  /** How long nobody may ask (ms); 0 = one may now. */
  blockedFor(): number;
  waiting(): number;
}

/** A call that may be made. */
export interface Turn {
  /** What the provider answered, as soon as that is known. Only the first word counts. */
  over(heard: Heard): void;
}

export type Heard =
  | { kind: 'served' }
  | { kind: 'failed' }
  | { kind: 'limited'; status: number; waitMs: number | null };

/** The first wait where the provider names none; it doubles each time (ms). */
const FIRST_WAIT_MS = 1000;
const LONGEST_GUESS_MS = 30_000;
/** More calls than this at once are not slowed down any more. */
const WIDE = 32;

interface Waiter {
  resolve(turn: Turn): void;
}

export function createLimiter(providerName: string): Limiter {
  let blockedUntil = 0;
  let status = 429;
  let refusedInARow = 0;
  /** How many may be unanswered at once. */
  let width = Infinity;
  let unanswered = 0;
  let timer: NodeJS.Timeout | undefined;
  /** By who waits, in the order of their turns. */
  const queues = new Map<string, Waiter[]>();

  const blockedFor = (): number => Math.max(0, blockedUntil - performance.now());
  const isOpen = (): boolean => blockedFor() === 0 && unanswered < width;

  function next(): Waiter | undefined {
    const first = queues.entries().next();
    if (first.done === true) return undefined;
    const [who, queue] = first.value;
    const waiter = queue.shift();
    queues.delete(who);
    if (queue.length > 0) queues.set(who, queue);
    return waiter;
  }

  function admit(): void {
    while (queues.size > 0 && isOpen()) next()?.resolve(turn());
    clearTimeout(timer);
    const wait = blockedFor();
    if (queues.size > 0 && wait > 0) timer = setTimeout(admit, Math.ceil(wait)).unref();
  }

  function turn(): Turn {
    unanswered++;
    let told = false;
    return {
      over(heard) {
        if (told) return;
        told = true;
        unanswered--;
        if (heard.kind === 'limited') {
          refusedInARow++;
          width = 1;
          status = heard.status;
          const wait = heard.waitMs ?? Math.min(LONGEST_GUESS_MS, FIRST_WAIT_MS * 2 ** (refusedInARow - 1));
          blockedUntil = Math.max(blockedUntil, performance.now() + wait);
        } else if (heard.kind === 'served') {
          refusedInARow = 0;
          width = width >= WIDE ? Infinity : width * 2;
        }
        admit();
      },
    };
  }

  function tooLong(): CallFault {
    const seconds = Math.max(1, Math.ceil(blockedFor() / 1000));
    return new CallFault(
      status,
      'provider_error',
      `The provider ${providerName} takes no more requests for now (${status}) and asked to wait; there are ${seconds} s left of it.`,
      { nothingSpent: true, retryAfter: String(seconds) },
    );
  }

  return {
    blockedFor,
    waiting: () => [...queues.values()].reduce((sum, queue) => sum + queue.length, 0),
    async enter(who, patienceMs, signal, onWait) {
      signal.throwIfAborted();
      if (isOpen() && queues.size === 0) return turn();
      if (blockedFor() > patienceMs) throw tooLong();
      onWait(blockedFor());
      return new Promise<Turn>((resolve, reject) => {
        const leave = (): void => {
          clearTimeout(patience);
          signal.removeEventListener('abort', onAbort);
        };
        const giveUp = (reason: Error): void => {
          leave();
          const queue = (queues.get(who) ?? []).filter((each) => each !== waiter);
          if (queue.length === 0) queues.delete(who);
          else queues.set(who, queue);
          reject(reason);
        };
        const waiter: Waiter = {
          resolve: (given) => {
            leave();
            resolve(given);
          },
        };
        const onAbort = (): void => giveUp(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
        const patience = setTimeout(() => giveUp(tooLong()), patienceMs).unref();
        signal.addEventListener('abort', onAbort, { once: true });
        queues.set(who, [...(queues.get(who) ?? []), waiter]);
        admit();
      });
    },
  };
}

/**
 * What an answer's head says of waiting. 503 means something else unless it names a time, and so does a 429 for an account
 * that has run out of money.
 */
export function heardOf(status: number, retryAfter: string | undefined, text = ''): Heard {
  const waitMs = waitOf(retryAfter);
  const limits = (status === 429 && !/insufficient_quota|billing/i.test(text)) || status === 529;
  if (limits || (status === 503 && waitMs !== null)) return { kind: 'limited', status, waitMs };
  return { kind: status < 400 ? 'served' : 'failed' };
}

/** A Retry-After as milliseconds: seconds, or an HTTP date. null = none that can be read. */
function waitOf(retryAfter: string | undefined): number | null {
  if (retryAfter === undefined || retryAfter.trim() === '') return null;
  const seconds = Number(retryAfter);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(retryAfter);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}
