import { expect, it, vi } from 'vitest';
import { ask, refusal } from '../../test/support/answers.ts';
import { testDoor } from '../../test/support/public-door.ts';
import { createKeys } from './keys.ts';

it('makes, lists and revokes keys over HTTP', async () => {
  const { app } = await testDoor();
  const made = await ask(app, 'POST', '/api/v1/keys', { body: { name: 'CI', scope: 'run' } });
  expect(made.status).toBe(201);
  const created = made.json as { id: string; key: string };
  expect(created.key).toMatch(new RegExp(`^aid_${created.id}_[A-Za-z0-9_-]{43}$`));
  const { json } = await ask(app, 'GET', '/api/v1/keys');
  expect(json).toEqual({
    keys: [{ id: created.id, name: 'CI', scope: 'run', created_at: expect.any(String) as string, last_used_at: null }],
  });
  expect(JSON.stringify(json)).not.toContain(created.key);
  expect((await ask(app, 'DELETE', `/api/v1/keys/${created.id}`)).status).toBe(204);
  expect((await refusal(app, 'DELETE', `/api/v1/keys/${created.id}`)).code).toBe('not_found');
  expect((await refusal(app, 'DELETE', '/api/v1/keys/X')).status).toBe(400);
  expect((await refusal(app, 'POST', '/api/v1/keys', { body: { name: 'CI', scope: 'root' } })).errors?.[0]?.path).toBe(
    'scope',
  );
  // Its answer cannot be kept, so it cannot be repeated either.
  expect(
    (
      await refusal(app, 'POST', '/api/v1/keys', {
        body: { name: 'CI', scope: 'run' },
        headers: { 'idempotency-key': 'k' },
      })
    ).errors?.[0]?.path,
  ).toBe('header.Idempotency-Key');
});

it('stores a hash, and knows a key by the whole of it', async () => {
  const { keys, store } = await testDoor();
  const { id, key } = await keys.create({ name: 'n', scope: 'run' });
  const [row] = store.query(store.db.selectFrom('api_keys').selectAll());
  expect(JSON.stringify(row)).not.toContain(key.slice(15));
  expect(await keys.count()).toBe(1);
  expect(await keys.verify(key)).toEqual({ id, scope: 'run' });
  const flipped = `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`;
  for (const wrong of [flipped, `${key} `, key.slice(1), '', `aid_${id}_`, key.replace(id, 'abcdefghij')])
    expect(await keys.verify(wrong)).toBeNull();
  await keys.revoke(id);
  expect(await keys.verify(key)).toBeNull();
});

it('notes the last use, at most once a minute', async () => {
  const { keys, store } = await testDoor();
  const { key } = await keys.create({ name: 'n', scope: 'run' });
  const lastUse = () => store.query(store.db.selectFrom('api_keys').select('last_used_at'))[0]?.last_used_at;
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-01-01T00:00:00.000Z') });
  try {
    await Promise.all([keys.verify(key), keys.verify(key)]);
    expect(lastUse()).toBe('2026-01-01T00:00:00.000Z');
    vi.setSystemTime(new Date('2026-01-01T00:00:59.000Z'));
    await keys.verify(key);
    expect(lastUse()).toBe('2026-01-01T00:00:00.000Z');
    vi.setSystemTime(new Date('2026-01-01T00:01:01.000Z'));
    await keys.verify(key);
    expect(lastUse()).toBe('2026-01-01T00:01:01.000Z');
  } finally {
    vi.useRealTimers();
  }
});

it('lets people in when the use cannot be noted', async () => {
  const { keys, store } = await testDoor();
  const { id, key } = await keys.create({ name: 'n', scope: 'run' });
  store.write = () => Promise.reject(new Error('disk full'));
  expect(await keys.verify(key)).toEqual({ id, scope: 'run' });
});

it('tells whoever listens of a revocation, until he stops', async () => {
  const { keys } = await testDoor();
  const { id } = await keys.create({ name: 'n', scope: 'run' });
  const told: string[] = [];
  const stop = keys.onRevoked((revoked) => told.push(revoked));
  expect(await keys.revoke('zzzzzzzzzz')).toBe(false);
  expect(await keys.revoke(id)).toBe(true);
  stop();
  await keys.revoke((await keys.create({ name: 'n', scope: 'run' })).id);
  expect(told).toEqual([id]);
});

it('takes the operator’s own key from a file, whatever it looks like', async () => {
  const { store } = await testDoor();
  const secret = 'an-operator-made-this-one-up-0123456789';
  const keys = createKeys(store, secret);
  expect(await keys.count()).toBe(1);
  expect(await keys.list()).toEqual([]);
  expect(await keys.verify(secret)).toEqual({ id: 'file', scope: 'admin' });
  expect(await keys.verify(`${secret}x`)).toBeNull();
  expect(() => createKeys(store, 'too short')).toThrow('has 9 characters');
});
