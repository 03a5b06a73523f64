import { expect, it, vi } from 'vitest';
import { ask, refusal } from '../../test/support/answers.ts';
import { testDoor } from '../../test/support/public-door.ts';
import { AppError } from '../errors.ts';

const RUNS = '/api/v1/runs';
const body = { repository: '/r', prompt: 'p' };
const headers = { 'idempotency-key': 'k-1' };

it('does the same request once, and answers it the same', async () => {
  const { app, flow } = await testDoor();
  const first = await ask(app, 'POST', RUNS, { body, headers });
  const second = await ask(app, 'POST', RUNS, { body, headers });
  expect(flow.calls).toHaveLength(1);
  expect([second.status, second.text, second.headers.get('content-type')]).toEqual([
    202,
    first.text,
    'application/json',
  ]);
  expect([first.headers.get('idempotency-replayed'), second.headers.get('idempotency-replayed')]).toEqual([
    null,
    'true',
  ]);
  await ask(app, 'POST', RUNS, { body, headers: { 'idempotency-key': 'k-2' } });
  await ask(app, 'POST', RUNS, { body });
  expect(flow.calls).toHaveLength(3);
});

it('refuses the key for any other request', async () => {
  const { app, flow, addRun } = await testDoor();
  const { id } = await addRun();
  await ask(app, 'POST', RUNS, { body, headers });
  for (const [path, other] of [
    [RUNS, { ...body, prompt: 'q' }],
    [`${RUNS}/${id}/cancel`, undefined],
  ] as const) {
    expect((await refusal(app, 'POST', path, { body: other, headers })).code).toBe('idempotency_conflict');
  }
  expect(flow.calls).toHaveLength(1);
});

it('lets the second of two at once wait for the first', async () => {
  const { app, flow } = await testDoor();
  const gate = Promise.withResolvers<void>();
  flow.gate = gate.promise;
  const both = [ask(app, 'POST', RUNS, { body, headers }), ask(app, 'POST', RUNS, { body, headers })];
  await vi.waitFor(() => expect(flow.calls).toHaveLength(1));
  expect((await refusal(app, 'POST', RUNS, { body: { ...body, prompt: 'q' }, headers })).code).toBe(
    'idempotency_conflict',
  );
  gate.resolve();
  const [first, second] = await Promise.all(both);
  expect(flow.calls).toHaveLength(1);
  expect(second?.text).toBe(first?.text);
});

it('keeps no refusal: what was not done may be tried again', async () => {
  const { app, flow } = await testDoor();
  flow.failure = new AppError('repository_not_found', 'Not there.', { hint: 'Make it.' });
  expect((await refusal(app, 'POST', RUNS, { body, headers })).status).toBe(422);
  expect((await refusal(app, 'POST', RUNS, { body: { prompt: 1 }, headers })).status).toBe(400);
  expect((await ask(app, 'POST', RUNS, { body, headers })).status).toBe(202);
});

it('keeps callers apart', async () => {
  const { app, flow, keys } = await testDoor({ host: '0.0.0.0' });
  const made = await Promise.all([keys.create({ name: 'a', scope: 'run' }), keys.create({ name: 'b', scope: 'run' })]);
  for (const { key } of made) {
    const { headers: answered } = await ask(app, 'POST', RUNS, {
      body,
      headers: { ...headers, authorization: `Bearer ${key}` },
    });
    expect(answered.get('idempotency-replayed')).toBeNull();
  }
  expect(flow.calls).toHaveLength(2);
});

it('forgets after a day', async () => {
  const { app, flow } = await testDoor();
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-01-01T00:00:00.000Z') });
  try {
    await ask(app, 'POST', RUNS, { body, headers });
    vi.setSystemTime(new Date('2026-01-01T23:59:59.000Z'));
    await ask(app, 'POST', RUNS, { body, headers });
    expect(flow.calls).toHaveLength(1);
    vi.setSystemTime(new Date('2026-01-02T00:00:01.000Z'));
    await ask(app, 'POST', RUNS, { body, headers });
    expect(flow.calls).toHaveLength(2);
  } finally {
    vi.useRealTimers();
  }
});

it('does not do again what a server that died had begun', async () => {
  const { app, flow, store } = await testDoor();
  await ask(app, 'POST', RUNS, { body, headers });
  // What it leaves when it dies between the work and the answer.
  await store.write({ within: (tx) => void tx.run(store.db.updateTable('idempotency').set({ status: 0, body: '' })) });
  const problem = await refusal(app, 'POST', RUNS, { body, headers });
  expect([problem.code, problem.detail]).toEqual([
    'idempotency_conflict',
    expect.stringContaining('stopped while it handled') as string,
  ]);
  expect(flow.calls).toHaveLength(1);
});

it('answers what was done even where the answer cannot be kept', async () => {
  const { app, flow, store, logged } = await testDoor();
  const { write } = store;
  let writes = 0;
  store.write = (job) =>
    (writes += 1) === 2
      ? Promise.reject(new Error('disk full'))
      : (write.call(store, job) as ReturnType<typeof store.write<never>>);
  expect((await ask(app, 'POST', RUNS, { body, headers })).status).toBe(202);
  expect(flow.calls).toHaveLength(1);
  expect(logged.join('')).toContain('could not be kept');
});
