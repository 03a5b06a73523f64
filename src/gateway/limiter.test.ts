import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createLimiter, heardOf, type Limiter, type Turn } from './limiter.ts';

const never = new AbortController().signal;
const limited = (waitMs: number | null) => ({ kind: 'limited', status: 429, waitMs }) as const;

/** Blocks the limiter for so long, as a provider does that was just asked. */
async function block(limiter: Limiter, waitMs: number | null): Promise<void> {
  (await limiter.enter('first', 0, never, () => undefined)).over(limited(waitMs));
}

describe('the limiter', () => {
  test('lets everybody through until the provider says otherwise', async () => {
    const limiter = createLimiter('p');
    const turns = await Promise.all(Array.from({ length: 50 }, () => limiter.enter('a', 0, never, () => undefined)));
    expect(turns).toHaveLength(50);
    expect(limiter.waiting()).toBe(0);
  });

  test('lets nobody ask before the time is up, then one, then more, each variation in turn', async () => {
    const limiter = createLimiter('p');
    await block(limiter, 80);
    const started = performance.now();
    const order: string[] = [];
    const open: Turn[] = [];
    const entered: Array<Promise<void>> = [];
    const enter = (who: string): void => {
      entered.push(
        limiter
          .enter(who, 10_000, never, () => undefined)
          .then((turn) => {
            order.push(who);
            open.push(turn);
          }),
      );
    };
    // One that asks a lot, and two that ask once.
    for (const who of ['greedy', 'greedy', 'greedy', 'greedy', 'b', 'c']) enter(who);
    expect(limiter.waiting()).toBe(6);
    await expect.poll(() => order.length).toBe(1);
    expect(performance.now() - started).toBeGreaterThanOrEqual(75);
    await wait(30);
    expect(order).toEqual(['greedy']);
    open[0]?.over({ kind: 'served' });
    await expect.poll(() => order.length).toBe(3);
    expect(order.slice(1)).toEqual(['b', 'c']);
    open[1]?.over({ kind: 'served' });
    await Promise.all(entered);
    expect(order).toHaveLength(6);
    expect(limiter.waiting()).toBe(0);
  });

  test('a failed call opens nothing and blocks nothing; a second word counts for nothing', async () => {
    const limiter = createLimiter('p');
    await block(limiter, 0);
    const first = await limiter.enter('a', 100, never, () => undefined);
    const second = limiter.enter('b', 5000, never, () => undefined);
    first.over({ kind: 'failed' });
    first.over({ kind: 'served' });
    const held = await second;
    let third = false;
    const last = limiter
      .enter('c', 5000, never, () => undefined)
      .then(() => {
        third = true;
      });
    await wait(20);
    expect(third).toBe(false);
    held.over({ kind: 'served' });
    await last;
  });

  test('waits no longer than it may, and says at once what cannot be waited for', async () => {
    const limiter = createLimiter('p');
    await block(limiter, 60_000);
    const refused = limiter.enter('a', 1000, never, () => undefined);
    await expect(refused).rejects.toMatchObject({ status: 429, retryAfter: '60', nothingSpent: true });
    const other = createLimiter('p');
    await block(other, 30);
    // The one that asks first does not come back.
    await other.enter('a', 5000, never, () => undefined);
    await expect(other.enter('b', 60, never, () => undefined)).rejects.toMatchObject({ status: 429 });
    expect(other.waiting()).toBe(0);
  });

  test('forgets who left', async () => {
    const limiter = createLimiter('p');
    await block(limiter, 60);
    const leaving = new AbortController();
    const gone = limiter.enter('a', 5000, leaving.signal, () => undefined);
    const next = limiter.enter('b', 5000, never, () => undefined);
    leaving.abort(new Error('gone'));
    await expect(gone).rejects.toThrow('gone');
    expect(limiter.waiting()).toBe(1);
    await next;
    await expect(limiter.enter('a', 5000, AbortSignal.abort(new Error('gone')), () => undefined)).rejects.toThrow(
      'gone',
    );
  });

  test('waits longer each time where the provider names no time', async () => {
    const limiter = createLimiter('p');
    await block(limiter, null);
    expect(limiter.blockedFor()).toBeLessThanOrEqual(1000);
    expect(limiter.blockedFor()).toBeGreaterThan(900);
  });
});

test.each([
  [429, undefined, '', { kind: 'limited', status: 429, waitMs: null }],
  [429, '3', '', { kind: 'limited', status: 429, waitMs: 3000 }],
  [429, '0.5', '', { kind: 'limited', status: 429, waitMs: 500 }],
  [429, '-3', '', { kind: 'limited', status: 429, waitMs: 0 }],
  [429, 'soon', '', { kind: 'limited', status: 429, waitMs: null }],
  [429, new Date(0).toUTCString(), '', { kind: 'limited', status: 429, waitMs: 0 }],
  [429, undefined, 'insufficient_quota: You exceeded your current quota', { kind: 'failed' }],
  [529, undefined, '', { kind: 'limited', status: 529, waitMs: null }],
  [503, undefined, '', { kind: 'failed' }],
  [503, '7', '', { kind: 'limited', status: 503, waitMs: 7000 }],
  [500, '7', '', { kind: 'failed' }],
  [200, undefined, '', { kind: 'served' }],
] as const)('of %i with %j it hears %#', (status, retryAfter, text, heard) => {
  expect(heardOf(status, retryAfter, text)).toEqual(heard);
});
