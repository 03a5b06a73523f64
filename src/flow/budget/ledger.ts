import type { BudgetScope } from '../../contract/budget.ts';

/**
 * The accounts of budgets in memory, and what is set aside on them. All of it happens between two turns of the event loop, so no
 * two calls see the same room.
 *
 * A call is let through while what is used and what is reserved are together below every limit; the sum of both therefore never
 * passes a limit by more than one reservation. While they are not, but what is used alone is, it waits: most calls use far less
 * than the most they can. Once what is used reaches the limit, nothing is let through any more.
 */

export interface Amount {
  microdollars: number;
  tokens: number;
}

export interface Account {
  readonly scope: BudgetScope;
  /** null = no limit of this kind. */
  readonly limit: { readonly microdollars: number | null; readonly tokens: number | null };
  used: Amount;
  reserved: Amount;
  /** How much of it is used, as far as anything follows from that. */
  level: Level;
}

/** Per cent: at 80 nothing new is started, at 100 no call is made. */
export type Level = 0 | 80 | 100;

/** The most that a call can use; money null = it has no price. */
export interface ClaimAmount {
  microdollars: number | null;
  tokens: number;
}

export interface Reservation {
  readonly accounts: readonly Account[];
  readonly claim: ClaimAmount;
  readonly who: string;
}

export interface Settled {
  /** What counts from now on. */
  charged: Amount;
  /** Whether some of it is what was set aside, because nobody measured it. */
  assumed: boolean;
  /** Whether the call used more than the most it was asked for. */
  exceeded: boolean;
  /** Accounts that this call brought to another level. */
  crossed: readonly Account[];
}

/** Why a call is not let through. */
export class BudgetRefusal extends Error {
  override readonly name = 'BudgetRefusal';
  readonly account: Account;
  readonly kind: 'exhausted' | 'unpriced' | 'busy';

  constructor(kind: BudgetRefusal['kind'], account: Account) {
    super(`${account.scope}: ${kind}`);
    this.kind = kind;
    this.account = account;
  }
}

export interface Ledger {
  /**
   * Sets a claim aside on all accounts, or on none. Errors: BudgetRefusal; the signal's reason.
   *
   * @param who calls that wait are let through in the order of how much their callers have under way
   * @param onWait called once if it has to wait
   */
  reserve(
    accounts: readonly Account[],
    claim: ClaimAmount,
    options: { who: string; signal: AbortSignal; onWait?: () => void },
  ): Promise<Reservation>;
  /** Puts what a call used in the place of what was set aside for it. null = nobody knows. */
  settle(reservation: Reservation, used: { microdollars: number | null; tokens: number | null }): Settled;
  waiting(): number;
}

export function openAccount(scope: BudgetScope, limit: Account['limit'], used: Amount): Account {
  const account: Account = { scope, limit, used: { ...used }, reserved: { microdollars: 0, tokens: 0 }, level: 0 };
  account.level = levelOf(account);
  return account;
}

const KINDS = ['microdollars', 'tokens'] as const;

export function levelOf({ limit, used }: Account): Level {
  let level: Level = 0;
  for (const kind of KINDS) {
    const most = limit[kind];
    if (most === null) continue;
    if (used[kind] >= most) return 100;
    if (used[kind] >= most * 0.8) level = 80;
  }
  return level;
}

interface Waiter {
  accounts: readonly Account[];
  claim: ClaimAmount;
  who: string;
  admit(reservation: Reservation): void;
  refuse(reason: Error): void;
}

/** @param patienceMs how long a call may wait for room */
export function createLedger(patienceMs: number): Ledger {
  let queue: Waiter[] = [];
  /** Reservations under way by who has them. */
  const held = new Map<string, number>();

  /** Throws where it can never be let through; false where there is no room now. */
  function hasRoom(accounts: readonly Account[], claim: ClaimAmount): boolean {
    let room = true;
    for (const account of accounts) {
      for (const kind of KINDS) {
        const most = account.limit[kind];
        if (most === null) continue;
        if (account.used[kind] >= most) throw new BudgetRefusal('exhausted', account);
        if (claim[kind] === null) throw new BudgetRefusal('unpriced', account);
        if (account.used[kind] + account.reserved[kind] >= most) room = false;
      }
    }
    return room;
  }

  function setAside(accounts: readonly Account[], claim: ClaimAmount, who: string): Reservation {
    for (const account of accounts) {
      account.reserved.microdollars += claim.microdollars ?? 0;
      account.reserved.tokens += claim.tokens;
    }
    held.set(who, (held.get(who) ?? 0) + 1);
    return { accounts, claim, who };
  }

  /** Something was settled: whoever waits is looked at anew, those with the least under way first. */
  function lookAgain(): void {
    for (const waiter of queue.toSorted((a, b) => (held.get(a.who) ?? 0) - (held.get(b.who) ?? 0))) {
      try {
        if (!hasRoom(waiter.accounts, waiter.claim)) continue;
      } catch (error) {
        waiter.refuse(error instanceof Error ? error : new Error(String(error)));
        continue;
      }
      waiter.admit(setAside(waiter.accounts, waiter.claim, waiter.who));
    }
  }

  return {
    waiting: () => queue.length,
    async reserve(accounts, claim, { who, signal, onWait }) {
      signal.throwIfAborted();
      // Nobody is overtaken by this: where there is room, nobody waits for it.
      if (hasRoom(accounts, claim)) return setAside(accounts, claim, who);
      onWait?.();
      return new Promise<Reservation>((resolve, reject) => {
        const leave = (): void => {
          clearTimeout(patience);
          signal.removeEventListener('abort', onAbort);
          queue = queue.filter((each) => each !== waiter);
        };
        const waiter: Waiter = {
          accounts,
          claim,
          who,
          admit: (reservation) => {
            leave();
            resolve(reservation);
          },
          refuse: (reason) => {
            leave();
            reject(reason);
          },
        };
        const onAbort = (): void =>
          waiter.refuse(signal.reason instanceof Error ? signal.reason : new Error('the call was given up'));
        const busy = (): BudgetRefusal => {
          const full = accounts.find(({ limit, used, reserved }) =>
            KINDS.some((kind) => limit[kind] !== null && used[kind] + reserved[kind] >= limit[kind]),
          );
          return new BudgetRefusal('busy', full ?? accounts[0] ?? openAccount('run', noLimit, nothing));
        };
        const patience = setTimeout(() => waiter.refuse(busy()), patienceMs).unref();
        signal.addEventListener('abort', onAbort, { once: true });
        queue.push(waiter);
      });
    },
    settle(reservation, said) {
      const { accounts, claim, who } = reservation;
      const used = {
        microdollars: said.microdollars ?? claim.microdollars ?? 0,
        tokens: said.tokens ?? claim.tokens,
      };
      const crossed: Account[] = [];
      for (const account of accounts) {
        account.reserved.microdollars -= claim.microdollars ?? 0;
        account.reserved.tokens -= claim.tokens;
        account.used.microdollars += used.microdollars;
        account.used.tokens += used.tokens;
        const level = levelOf(account);
        if (level > account.level) crossed.push(account);
        account.level = level;
      }
      const left = (held.get(who) ?? 1) - 1;
      if (left === 0) held.delete(who);
      else held.set(who, left);
      lookAgain();
      return {
        charged: used,
        assumed: said.tokens === null || (said.microdollars === null && claim.microdollars !== null),
        exceeded: used.tokens > claim.tokens || used.microdollars > (claim.microdollars ?? Infinity),
        crossed,
      };
    },
  };
}

const noLimit = { microdollars: null, tokens: null };
const nothing: Amount = { microdollars: 0, tokens: 0 };
