import { expect, test } from 'vitest';
import { createRoom, expectedBytes } from './room.ts';

const MB = 1024 * 1024;
const never = new AbortController().signal;

/** Who is inside, in the order they came in. */
function watch(room: ReturnType<typeof createRoom>) {
  const inside: string[] = [];
  const enter = (name: string, bytes: number, signal = never) =>
    room.enter(bytes, signal).then((leave) => {
      inside.push(name);
      return () => {
        inside.splice(inside.indexOf(name), 1);
        leave();
      };
    });
  return { inside, enter };
}
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('lets in what there is room for, in the order they came, however small the later ones are', async () => {
  const { inside, enter } = watch(createRoom(10 * MB));
  const leaves = [enter('a', 6 * MB), enter('b', 4 * MB), enter('c', 5 * MB), enter('d', 1)];
  await settled();
  expect(inside).toEqual(['a', 'b']);
  (await leaves[1]!)();
  await settled();
  expect(inside).toEqual(['a']);
  (await leaves[0]!)();
  await settled();
  expect(inside).toEqual(['c', 'd']);
});

test('what is larger than all of it comes in alone; leaving twice is leaving once', async () => {
  const { inside, enter } = watch(createRoom(10 * MB));
  const small = await enter('small', 1);
  const large = enter('large', 50 * MB);
  await settled();
  expect(inside).toEqual(['small']);
  small();
  small();
  const leave = await large;
  const next = enter('next', 10 * MB);
  await settled();
  expect(inside).toEqual(['large']);
  leave();
  await next;
  expect(inside).toEqual(['next']);
});

test('who leaves the queue holds up nobody; what says nothing takes its place all the same', async () => {
  const { inside, enter } = watch(createRoom(MB));
  const left = new AbortController();
  const first = await enter('first', MB / 2);
  const gone = enter('gone', MB, left.signal);
  const last = enter('last', 0);
  left.abort();
  await expect(gone).rejects.toThrow('aborted');
  await last;
  expect(inside).toEqual(['first', 'last']);
  const third = enter('third', 0);
  await settled();
  expect(inside).toEqual(['first', 'last']);
  first();
  await third;
  expect(inside).toEqual(['last', 'third']);
});

test.each([
  ['12', 12],
  [undefined, 100],
  ['100', 100],
  ['101', 0],
])('a body of %s bytes of 100: %i are kept', (said, kept) => expect(expectedBytes(said, 100)).toBe(kept));
