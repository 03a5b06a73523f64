import { describe, expect, it } from 'vitest';
import { ask, refusal } from '../../test/support/answers.ts';
import { testDoor } from '../../test/support/public-door.ts';
import { isLoopback, neededScope } from './auth.ts';

const RUNS = '/api/v1/runs';
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

describe('on loopback', () => {
  it('needs no key, and whoever is there may do everything', async () => {
    const { app } = await testDoor();
    expect((await ask(app, 'POST', '/api/v1/keys', { body: { name: 'n', scope: 'read' } })).status).toBe(201);
  });

  it('checks a key that is presented all the same', async () => {
    const { app, keys } = await testDoor();
    const { key } = await keys.create({ name: 'n', scope: 'read' });
    expect((await ask(app, 'GET', RUNS, { headers: bearer(key) })).status).toBe(200);
    expect((await refusal(app, 'GET', RUNS, { headers: bearer(`${key}x`) })).code).toBe('unauthorized');
    expect((await refusal(app, 'GET', RUNS, { headers: { authorization: 'Basic dTpw' } })).code).toBe('unauthorized');
  });

  it('answers only to its own names', async () => {
    const { app } = await testDoor({ allowedHosts: ['My.Machine'] });
    for (const host of ['localhost', 'LOCALHOST:8000', '127.0.0.1:8000', '[::1]:8000', '[::1]', 'my.machine:1']) {
      expect([host, (await ask(app, 'GET', RUNS, { headers: { host } })).status]).toEqual([host, 200]);
    }
    for (const host of ['evil.example', 'localhost.evil.example', 'localhost:80@evil', '127.0.0.1.nip.io:8000', '']) {
      expect([host, (await refusal(app, 'GET', '/healthz', { headers: { host } })).code]).toEqual([
        host,
        'origin_refused',
      ]);
    }
  });

  it('lets no page from elsewhere in', async () => {
    const { app, flow } = await testDoor({ allowedHosts: ['my.machine'] });
    const host = 'localhost:8000';
    const body = { repository: '/r', prompt: 'p' };
    const status = async (headers: Record<string, string>) =>
      (await ask(app, 'POST', RUNS, { body, headers: { host, ...headers } })).status;
    expect(await status({ origin: 'http://localhost:8000', 'sec-fetch-site': 'same-origin' })).toBe(202);
    expect(await status({ origin: 'https://my.machine' })).toBe(202);
    expect(await status({ 'sec-fetch-site': 'none' })).toBe(202);
    expect(flow.calls).toHaveLength(3);
    for (const origin of [
      'http://localhost:3000',
      'http://evil.example',
      'null',
      'http://localhost:8000.evil.example',
      'file://',
    ]) {
      expect([origin, await status({ origin })]).toEqual([origin, 403]);
    }
    expect(await status({ 'sec-fetch-site': 'same-site' })).toBe(403);
    expect(
      await status({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }),
    ).toBe(403);
    expect(flow.calls).toHaveLength(3);
    // An image or a script of a page elsewhere may not even ask; a link may be followed.
    expect(
      (
        await ask(app, 'GET', RUNS, {
          headers: { host, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
        })
      ).status,
    ).toBe(403);
    expect(
      (
        await ask(app, 'GET', '/docs', {
          headers: { host, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
        })
      ).status,
    ).toBe(200);
  });
});

describe('beyond loopback', () => {
  it('wants a key on everything but probes and documentation', async () => {
    const { app } = await testDoor({ host: '0.0.0.0' });
    for (const path of [RUNS, '/metrics', '/api/v1/info', '/api/v1/nothing', `${RUNS}/abcdefghij/stream`]) {
      const { status, headers } = await ask(app, 'GET', path);
      expect([path, status, headers.get('www-authenticate')]).toEqual([path, 401, 'Bearer realm="aideator"']);
    }
    for (const path of ['/healthz', '/readyz', '/docs', '/docs/swagger-ui.css', '/openapi.json']) {
      expect([path, (await ask(app, 'GET', path, { headers: { host: 'anything.example' } })).status]).toEqual([
        path,
        200,
      ]);
    }
  });

  it('lets a key do what its scope says', async () => {
    const { app, keys, addRun } = await testDoor({ host: '0.0.0.0' });
    const { id } = await addRun();
    const made = {
      read: await keys.create({ name: 'r', scope: 'read' }),
      run: await keys.create({ name: 'w', scope: 'run' }),
      admin: await keys.create({ name: 'a', scope: 'admin' }),
    };
    const status = async (scope: keyof typeof made, method: string, path: string) =>
      (await ask(app, method, path, { headers: bearer(made[scope].key) })).status;
    expect(
      await Promise.all(['read', 'run', 'admin'].map((scope) => status(scope as 'read', 'GET', `${RUNS}/${id}`))),
    ).toEqual([200, 200, 200]);
    expect(
      await Promise.all(
        ['read', 'run', 'admin'].map((scope) => status(scope as 'read', 'POST', `${RUNS}/${id}/cancel`)),
      ),
    ).toEqual([403, 200, 200]);
    expect(
      await Promise.all(['read', 'run', 'admin'].map((scope) => status(scope as 'read', 'GET', '/api/v1/keys'))),
    ).toEqual([403, 403, 200]);
    expect(
      await Promise.all(['read', 'run', 'admin'].map((scope) => status(scope as 'read', 'GET', '/metrics'))),
    ).toEqual([200, 200, 200]);
  });
});

it('knows addresses that only this machine can reach', () => {
  expect(['127.0.0.1', '127.9.9.9', '::1', 'localhost'].every(isLoopback)).toBe(true);
  expect(['0.0.0.0', '::', '192.168.1.1', 'example.org', '127.0.0.1.example.org', '1270.0.0.1'].some(isLoopback)).toBe(
    false,
  );
});

it('asks an admin for keys, and for installing agents, however the path goes on', () => {
  expect(neededScope('GET', '/api/v1/keys')).toBe('admin');
  expect(neededScope('DELETE', '/api/v1/keys/x')).toBe('admin');
  expect(neededScope('POST', '/api/v1/agents/codex/install')).toBe('admin');
  expect(neededScope('GET', '/api/v1/agents/codex')).toBe('read');
  expect(neededScope('HEAD', '/api/v1/runs')).toBe('read');
  expect(neededScope('GET', '/api/v1/keysets')).toBe('read');
  expect(neededScope('PUT', '/api/v1/runs')).toBe('run');
});
