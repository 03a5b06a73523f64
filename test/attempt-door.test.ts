import { statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { doorSocket, openDoor } from '../src/attempt-api/door.ts';
import type { Knocker } from '../src/attempt-api/models.ts';
import { createTokenBook, hashToken, newToken } from '../src/flow/tokens.ts';
import type { Gateway } from '../src/gateway/gateway.ts';
import { tempDir } from './support/temp.ts';

/** The attempt door on its own: who comes in, and what they find. */

const gateway: Gateway = {
  check: () => ['anthropic'],
  hasPrice: () => true,
  close: () => Promise.resolve(),
  handle: (incoming, response, caller, booking) => {
    booking.settle({
      at: '',
      provider: 'p',
      model: caller.model,
      dialect: 'openai',
      status: 200,
      tokens: { input: 1, output: 1, cacheRead: null, cacheWrite: null },
      costMicrodollars: null,
      durationMs: 1,
      waitedMs: 0,
      error: null,
      code: null,
    });
    response.end(
      JSON.stringify({
        url: incoming.url,
        attempt: caller.attemptId,
        authorization: incoming.headers.authorization ?? null,
      }),
    );
    return Promise.resolve();
  },
};

async function openTestDoor(dataDir = tempDir()) {
  const tokens = createTokenBook<Knocker>();
  const used: string[] = [];
  const socket = doorSocket(dataDir);
  const door = await openDoor({
    listen: { socket },
    tokens,
    gateway,
    book: (caller) => ({
      reserve: () => Promise.resolve(),
      note: () => undefined,
      settle: () => void used.push(caller.attemptId),
    }),
  });
  onTestFinished(() => door.close());
  const admit = (attemptId: string) => {
    const token = newToken();
    tokens.admit(hashToken(token), { attemptId, model: 'p/m', stopped: new AbortController() });
    return token;
  };
  return { socket, close: door.close, tokens, used, admit };
}

function ask(socketPath: string, path: string, token?: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { socketPath, path, method: 'POST', headers: token === undefined ? {} : { authorization: `Bearer ${token}` } },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    sent.on('error', reject);
    sent.end('{}');
  });
}

describe('the attempt door', () => {
  it('knows each attempt by its token, books what it used, and lets the token go no further', async () => {
    const { socket, used, admit } = await openTestDoor();
    const [one, two] = [admit('one'), admit('two')];
    const answer = await ask(socket, '/models/v1/messages?beta=true', two);
    expect(JSON.parse(answer.text)).toEqual({ url: '/v1/messages?beta=true', attempt: 'two', authorization: null });
    expect(JSON.parse((await ask(socket, '/models/v1/x', one)).text)).toMatchObject({ attempt: 'one' });
    expect(used).toEqual(['two', 'one']);
  });

  it('refuses no token, a made-up one, and that of an attempt that ended', async () => {
    const { socket, tokens, used, admit } = await openTestDoor();
    const token = admit('one');
    tokens.revoke(hashToken(token));
    for (const wrong of [undefined, newToken(), token, 'x y', ''])
      expect((await ask(socket, '/models/v1/messages', wrong)).status).toBe(403);
    expect(used).toEqual([]);
  });

  it('has nothing else behind it', async () => {
    const { socket, admit } = await openTestDoor();
    const token = admit('one');
    for (const path of ['/', '/api/v1/runs', '/metrics', '/v1/messages', '/modelsX'])
      expect((await ask(socket, path, token)).status).toBe(404);
  });

  it('is this user’s alone, has the same path after a restart, and one short enough for a socket', async () => {
    const dataDir = tempDir();
    const first = await openTestDoor(dataDir);
    expect(statSync(first.socket).mode & 0o777).toBe(0o600);
    await first.close();
    expect((await openTestDoor(dataDir)).socket).toBe(first.socket);
    const deep = join(tempDir(), 'x'.repeat(120));
    const far = await openTestDoor(deep);
    expect(Buffer.byteLength(far.socket)).toBeLessThan(104);
    expect((await openTestDoor(deep)).socket).toBe(far.socket);
    expect((await ask(far.socket, '/')).status).toBe(403);
  });
});
