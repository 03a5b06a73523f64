import { APICallError, EmptyResponseBodyError } from 'ai';
import { expect, test } from 'vitest';
import { failureOf, ModelFailure, retryAfterOf } from './failure.ts';
import { withRetries } from './retry.ts';

const call = (facts: {
  statusCode?: number;
  responseHeaders?: Record<string, string>;
  cause?: unknown;
  message?: string;
}) => new APICallError({ message: 'said', url: 'http://x', requestBodyValues: {}, ...facts });

async function attempt(failures: ModelFailure[]) {
  const waits: number[] = [];
  let tries = 0;
  const signal = new AbortController().signal;
  const result = await withRetries({ firstMs: 1, signal, onRetry: (_, ms) => waits.push(ms) }, () => {
    tries += 1;
    const failure = failures.shift();
    return failure === undefined ? Promise.resolve('done') : Promise.reject(failure);
  }).catch((error: unknown) => error);
  return { result, waits, tries };
}

const transient = (retryAfterMs: number | null = null) =>
  new ModelFailure('transient', 'busy', { status: 529, retryAfterMs });

test('waits grow, and what is asked for is kept', async () => {
  expect(await attempt([transient(), transient(), transient(4), transient()])).toEqual({
    result: 'done',
    waits: [1, 2, 4, 8],
    tries: 5,
  });
});

test('six tries, then it is over', async () => {
  const { result, tries } = await attempt(Array.from({ length: 9 }, () => transient()));
  expect(tries).toBe(6);
  expect(result).toMatchObject({ kind: 'transient', status: 529 });
});

test('a wait of more than a minute is not waited for', async () => {
  expect(await attempt([transient(61_000)])).toMatchObject({ tries: 1, waits: [], result: { retryAfterMs: 61_000 } });
  expect(await attempt([transient(1), transient(60_000)])).toMatchObject({ tries: 2, waits: [1] });
});

test('what cannot pass is not repeated', async () => {
  expect(await attempt([new ModelFailure('auth', 'no', { status: 401 })])).toMatchObject({
    tries: 1,
    result: { kind: 'auth' },
  });
});

test('a cancel ends the waiting', async () => {
  const stop = new AbortController();
  const waiting = withRetries({ firstMs: 60_000, signal: stop.signal, onRetry: () => stop.abort() }, () =>
    Promise.reject(transient()),
  );
  await expect(waiting).rejects.toThrow('aborted');
});

test.each([
  ['no connection', call({}), 'transient', null],
  ['refused', call({ statusCode: 401 }), 'auth', 401],
  ['forbidden', call({ statusCode: 403 }), 'auth', 403],
  ['bad request', call({ statusCode: 400 }), 'provider', 400],
  ['too many', call({ statusCode: 429 }), 'transient', 429],
  ['a strange 5xx', call({ statusCode: 520 }), 'transient', 520],
  ['not implemented', call({ statusCode: 501 }), 'transient', 501],
  ['a login page', call({ statusCode: 200, cause: new Error('no JSON') }), 'provider', 200],
  ['a cut behind the head', call({ statusCode: 200, cause: new TypeError('terminated') }), 'transient', 200],
  ['an empty answer', call({ statusCode: 200, cause: new EmptyResponseBodyError() }), 'transient', 200],
  ['a cut', new TypeError('terminated'), 'transient', null],
  [
    'a reset deep inside',
    new Error('x', { cause: Object.assign(new Error('y'), { code: 'ECONNRESET' }) }),
    'transient',
    null,
  ],
  ['a bug', new Error('undefined is no function'), 'provider', null],
  ['words', 'it broke', 'provider', null],
  ['an object', { message: 'it broke' }, 'provider', null],
  ['anything', 7, 'provider', null],
])('%s', (_, error, kind, status) => {
  expect(failureOf(error)).toMatchObject({ kind, status });
});

test('retry-after is read as seconds, milliseconds or a date', () => {
  expect(retryAfterOf({})).toBeNull();
  expect(retryAfterOf({ 'retry-after': '7' })).toBe(7000);
  expect(retryAfterOf({ 'retry-after': '7', 'retry-after-ms': '350' })).toBe(350);
  const at = Date.parse('2026-11-01T10:00:00Z');
  expect(retryAfterOf({ 'retry-after': 'Sun, 01 Nov 2026 10:00:05 GMT' }, at)).toBe(5000);
  expect(retryAfterOf({ 'retry-after': 'Sun, 01 Nov 2026 09:00:00 GMT' }, at)).toBe(0);
  expect(retryAfterOf({ 'retry-after': 'soon' })).toBeNull();
});
