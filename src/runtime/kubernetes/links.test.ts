import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LINK_BEAT_MS } from '../../contract/attempt-door.ts';
import { createLinks } from './links.ts';

/** When a recorder is told what. */

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('while lines flow it is told now and then; at once where it waits; and every few seconds that the link lives', () => {
  let have = 0;
  const links = createLinks(() => ({ have }));
  const heard: [number, number | undefined][] = [];
  const start = performance.now();
  const leave = links.add({
    onMessage: (message) => void heard.push([Math.round(performance.now() - start), message.have]),
    onEnd: () => undefined,
  });
  for (; have < 1000;) {
    have += 1;
    links.changed(false);
    vi.advanceTimersByTime(1);
  }
  expect(heard.length).toBeGreaterThan(8);
  expect(heard.length).toBeLessThan(13);
  vi.advanceTimersByTime(100);
  expect(heard.at(-1)?.[1]).toBe(1000);
  const before = heard.length;
  links.changed(false);
  expect(heard).toHaveLength(before);
  links.changed(true);
  expect(heard).toHaveLength(before + 1);
  const spoken = heard.at(-1)?.[0] ?? 0;
  vi.advanceTimersByTime(3 * LINK_BEAT_MS);
  expect(heard.slice(before + 1).map(([at]) => at - spoken)).toEqual([1, 2, 3].map((n) => n * LINK_BEAT_MS));
  leave();
  expect(vi.getTimerCount()).toBe(0);
  links.changed(true);
  links.end();
  expect(heard).toHaveLength(before + 4);
});
