import { expect, it } from 'vitest';
import { createTurns } from './turns.ts';

it('so many at once, in order; who leaves is passed over, and a failure gives its turn on', async () => {
  const turns = createTurns(2);
  const staying = new AbortController();
  const leaving = new AbortController();
  const ran: string[] = [];
  const ends = new Map<string, () => void>();
  const enter = (name: string, signal = staying.signal) =>
    turns(signal, () => {
      ran.push(name);
      return new Promise<void>((resolve, reject) =>
        ends.set(name, name === 'b' ? () => reject(new Error('b failed')) : resolve),
      );
    });
  const [a, b, c, d] = [enter('a'), enter('b'), enter('c', leaving.signal), enter('d')];
  leaving.abort();
  await expect(c).rejects.toThrow(/abort/i);
  expect(ran).toEqual(['a', 'b']);
  ends.get('b')?.();
  await expect(b).rejects.toThrow('b failed');
  expect(ran).toEqual(['a', 'b', 'd']);
  ends.get('a')?.();
  ends.get('d')?.();
  await Promise.all([a, d]);
  await expect(enter('e', leaving.signal)).rejects.toThrow(/abort/i);
  expect(ran).toEqual(['a', 'b', 'd']);
});
