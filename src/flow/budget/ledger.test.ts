import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { BudgetRefusal, createLedger, openAccount, type Account, type Reservation } from './ledger.ts';

const never = new AbortController().signal;
const money = (microdollars: number, tokens: number | null = null) => ({ microdollars, tokens });
const none = { microdollars: 0, tokens: 0 };
const claim = (microdollars: number | null, tokens = 1) => ({ microdollars, tokens });
// Vitest types its matchers as `any`; `rejects.toThrow` wants an Error.
const refusal = (kind: BudgetRefusal['kind']) =>
  expect.objectContaining({ name: 'BudgetRefusal', kind }) as unknown as Error;

/** mulberry32: a small generator with a seed, so that a failure can be had again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe('the ledger', () => {
  test('lets calls through while there is room, one of them beyond the limit at most', async () => {
    const ledger = createLedger(1000);
    const account = openAccount('run', money(100), none);
    const first = await ledger.reserve([account], claim(60), { who: 'a', signal: never });
    // Below the limit there is room for one more, however large.
    const second = await ledger.reserve([account], claim(60), { who: 'b', signal: never });
    expect(account.reserved.microdollars).toBe(120);
    let waited = false;
    const third = ledger.reserve([account], claim(1), { who: 'c', signal: never, onWait: () => (waited = true) });
    expect([waited, ledger.waiting()]).toEqual([true, 1]);
    expect(ledger.settle(first, { microdollars: 10, tokens: 1 })).toMatchObject({ assumed: false, exceeded: false });
    await third;
    ledger.settle(second, { microdollars: 90, tokens: 1 });
    expect(account).toMatchObject({ used: { microdollars: 100 }, reserved: { microdollars: 1 }, level: 100 });
    await expect(ledger.reserve([account], claim(1), { who: 'd', signal: never })).rejects.toThrow(
      refusal('exhausted'),
    );
  });

  test('refuses those that wait once nothing is left', async () => {
    const ledger = createLedger(1000);
    const account = openAccount('day', { microdollars: null, tokens: 10 }, none);
    const held = await ledger.reserve([account], claim(null, 10), { who: 'a', signal: never });
    const waiting = ledger.reserve([account], claim(null, 1), { who: 'b', signal: never });
    ledger.settle(held, { microdollars: null, tokens: 10 });
    await expect(waiting).rejects.toThrow(refusal('exhausted'));
    expect(ledger.waiting()).toBe(0);
  });

  test('sets aside on all accounts or on none', async () => {
    const ledger = createLedger(1000);
    const run = openAccount('run', money(100), none);
    const day = openAccount('day', money(5), { microdollars: 5, tokens: 0 });
    await expect(ledger.reserve([run, day], claim(1), { who: 'a', signal: never })).rejects.toMatchObject({
      account: day,
    });
    expect(run.reserved.microdollars).toBe(0);
  });

  test('says what crossed a level, once', async () => {
    const ledger = createLedger(1000);
    const account = openAccount('run', money(100, 1000), none);
    const spend = async (microdollars: number, tokens = 0) =>
      ledger.settle(await ledger.reserve([account], claim(10, 10), { who: 'a', signal: never }), {
        microdollars,
        tokens,
      }).crossed.length;
    expect([await spend(79), await spend(1), await spend(1), await spend(0, 900), await spend(19)]).toEqual([
      0, 1, 0, 0, 1,
    ]);
    expect(account.level).toBe(100);
  });

  test('counts what nobody measured with all that was set aside, and what is more than that as it is', async () => {
    const ledger = createLedger(1000);
    const account = openAccount('run', money(1000), none);
    const one = () => ledger.reserve([account], claim(40, 7), { who: 'a', signal: never });
    expect(ledger.settle(await one(), { microdollars: null, tokens: null })).toMatchObject({
      charged: { microdollars: 40, tokens: 7 },
      assumed: true,
    });
    expect(ledger.settle(await one(), { microdollars: 50, tokens: 7 })).toMatchObject({
      assumed: false,
      exceeded: true,
    });
    expect(account).toMatchObject({ used: { microdollars: 90, tokens: 14 }, reserved: none });
  });

  test('takes no call without a price on an account in money', async () => {
    const ledger = createLedger(1000);
    const account = openAccount('run', money(100), none);
    await expect(ledger.reserve([account], claim(null), { who: 'a', signal: never })).rejects.toThrow(
      refusal('unpriced'),
    );
    const tokens = openAccount('run', { microdollars: null, tokens: 100 }, none);
    const held = await ledger.reserve([tokens], claim(null), { who: 'a', signal: never });
    expect(ledger.settle(held, { microdollars: null, tokens: 1 }).assumed).toBe(false);
  });

  test('waits no longer than it may, and not for who left', async () => {
    const ledger = createLedger(30);
    const account = openAccount('run', money(10), none);
    await ledger.reserve([account], claim(10), { who: 'a', signal: never });
    const leaving = new AbortController();
    const gone = ledger.reserve([account], claim(1), { who: 'b', signal: leaving.signal });
    leaving.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    await expect(ledger.reserve([account], claim(1), { who: 'c', signal: never })).rejects.toThrow(refusal('busy'));
    expect(ledger.waiting()).toBe(0);
  });

  test('lets those through first who have the least under way', async () => {
    const ledger = createLedger(5000);
    const account = openAccount('run', money(10), none);
    const held: Reservation[] = [];
    for (let time = 0; time < 4; time++)
      held.push(await ledger.reserve([account], claim(time === 3 ? 9 : 1), { who: 'greedy', signal: never }));
    const order: string[] = [];
    const asking = ['greedy', 'greedy', 'modest'].map(async (who) => {
      await ledger.reserve([account], claim(9), { who, signal: never });
      order.push(who);
    });
    const [last] = held.splice(3);
    if (last !== undefined) ledger.settle(last, none);
    await wait(0);
    expect(order).toEqual(['modest']);
    for (const each of held) ledger.settle(each, { microdollars: 10, tokens: 0 });
    await Promise.allSettled(asking);
  });
});

/** 8 variations of a run race for its budget; each call uses some of what it claims, sometimes nobody knows how much. */
async function race(seed: number): Promise<{ account: Account; bound: number; refused: number; spent: number }> {
  const next = random(seed);
  const ledger = createLedger(60_000);
  const limit = 1000 + Math.floor(next() * 5000);
  const run = openAccount('run', money(limit), none);
  const own = Array.from({ length: 8 }, () => openAccount('variation', money(limit / 3), none));
  let bound = 0;
  let largestAsked = 0;
  let spent = 0;
  let refused = 0;
  const check = (): void => {
    const together = run.used.microdollars + run.reserved.microdollars;
    expect(together, `seed ${seed}`).toBeLessThan(limit + largestAsked);
  };
  await Promise.all(
    own.map(async (variation, index) => {
      for (;;) {
        const most = 1 + Math.floor(next() * 400);
        // Those that were let through just now have not all come back here yet.
        largestAsked = Math.max(largestAsked, most);
        let held: Reservation;
        try {
          held = await ledger.reserve([variation, run], claim(most), { who: String(index), signal: never });
        } catch (error) {
          expect(error).toBeInstanceOf(BudgetRefusal);
          refused++;
          return;
        }
        bound = Math.max(bound, most);
        check();
        if (next() < 0.5) await wait(0);
        else await Promise.resolve();
        const used = next() < 0.1 ? null : Math.floor(next() * (most + 1));
        spent += ledger.settle(held, { microdollars: used, tokens: used === null ? null : 1 }).charged.microdollars;
        check();
      }
    }),
  );
  return { account: run, bound, refused, spent };
}

test('in 100 seeded races of 8 variations the stated bound is never passed, and nothing is left set aside', async () => {
  for (let seed = 1; seed <= 100; seed++) {
    const { account, bound, refused, spent } = await race(seed);
    expect(refused).toBe(8);
    expect(account.reserved).toEqual(none);
    expect(account.used.microdollars).toBe(spent);
    expect(account.used.microdollars, `seed ${seed}`).toBeLessThan((account.limit.microdollars ?? 0) + bound);
  }
});
