import { once } from 'node:events';
import { get } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { connect as connectTls, createServer } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { agentEnvironment } from '../src/agent/child-env.ts';
import { attemptPaths } from '../src/agent/claim.ts';
import type { AddressKind } from '../src/attempt-api/addresses.ts';
import { connectBy, egressScene, listenTcp } from './support/egress.ts';
import { createPki } from './support/pki.ts';
import { specOf } from './support/runtime-on-cluster.ts';
import { until } from './support/until.ts';

/** An agent's program, the recorder's proxy, the attempt door, and a host: all real, and on this machine. */

const echo = (socket: Socket): void => void socket.pipe(socket);
describe.each([
  { name: 'over a Unix socket', onPort: false },
  { name: 'over TCP', onPort: true },
])('a tunnel $name', ({ onPort }) => {
  test('carries TLS that is opened at its two ends alone', async () => {
    const pki = createPki();
    const server = createServer(pki.server, (socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { connect, facts } = await egressScene([`127.0.0.1:${port}`], { onPort });
    const { status, socket } = await connect(`127.0.0.1:${port}`);
    expect(status).toBe(200);
    const secure = connectTls({ socket, ca: pki.ca, host: '127.0.0.1' });
    secure.end('hello');
    expect(await text(secure)).toBe('hello');
    expect(secure.authorized).toBe(true);
    await until(() => facts.some(({ kind }) => kind === 'closed'));
    expect(facts[0]).toEqual({ kind: 'opened', target: `127.0.0.1:${port}` });
  });

  test('an end on one side leaves the other direction open; what was said before an end arrives', async () => {
    const said: string[] = [];
    const host = await listenTcp((socket) => {
      socket.on('data', (chunk: Buffer) => said.push(chunk.toString()));
      // Only when the agent has said all of it.
      socket.once('end', () => socket.end('x'.repeat(3_000_000)));
    });
    const { connect, facts } = await egressScene([host.at], { onPort });
    const { socket } = await connect(host.at);
    socket.end('all of it');
    expect((await buffer(socket)).length).toBe(3_000_000);
    expect(said.join('')).toBe('all of it');
    await until(() => facts.length === 2);
    expect(facts[1]).toEqual({ kind: 'closed', target: host.at, sent: 9, received: 3_000_000 });
    await until(() => host.sockets.size === 0);
  });

  test('the slower side sets the pace, and nothing is lost', async () => {
    const all = 64 * 1024 * 1024;
    let taken = 0;
    const host = await listenTcp((socket) => {
      const pieces = function* () {
        for (; taken < all; taken += 65_536) yield Buffer.alloc(65_536, 'a');
      };
      Readable.from(pieces(), { highWaterMark: 1 }).pipe(socket);
    });
    const { connect } = await egressScene([host.at], { onPort });
    const { socket } = await connect(host.at);
    let before = -1;
    // Until it moves no more.
    await until(async () => {
      const stands = taken === before && taken > 0;
      before = taken;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return stands;
    });
    // What sockets' buffers hold, of six of them.
    expect(taken).toBeLessThan(all / 2);
    expect((await buffer(socket)).length).toBe(all);
  });

  test.each(['agent', 'host'])('when the %s breaks off, the other side is closed', async (who) => {
    const host = await listenTcp(echo);
    const { connect, facts } = await egressScene([host.at], { onPort });
    const { socket } = await connect(host.at);
    socket.write('x');
    await once(socket, 'data');
    if (who === 'agent') socket.resetAndDestroy();
    else for (const each of host.sockets) each.resetAndDestroy();
    socket.resume();
    await until(() => host.sockets.size === 0 && (socket.closed || socket.readableEnded) && facts.length === 2);
    expect(facts[1]).toEqual({ kind: 'closed', target: host.at, sent: 1, received: 1 });
  });
});

describe('who is let through', () => {
  test('without a list nobody, with words that say whom to ask', async () => {
    const host = await listenTcp(echo);
    const { connect, facts } = await egressScene([]);
    const { status, body } = await connect(host.at);
    expect(status).toBe(403);
    expect(JSON.parse(body)).toEqual({
      error: {
        type: 'host_not_allowed',
        message: expect.stringMatching(/No host may be reached.*sandbox\.allow_hosts/),
      },
    });
    expect(facts).toEqual([expect.objectContaining({ kind: 'refused', target: host.at, code: 'host_not_allowed' })]);
    expect(host.sockets.size).toBe(0);
  });

  test('the token of an attempt that ended, or that was stopped, opens nothing, and closes what it had opened', async () => {
    const host = await listenTcp(echo);
    const { connect, stop, revoke, facts, attempt } = await egressScene([host.at]);
    const other = await attempt();
    const [mine, others] = [await connect(host.at), await other.connect(host.at)];
    stop();
    await until(() => mine.socket.closed || mine.socket.readableEnded);
    expect(await connect(host.at)).toMatchObject({ status: 403, body: expect.stringContaining('was stopped') });
    revoke();
    expect(await connect(host.at)).toMatchObject({
      status: 403,
      body: expect.stringContaining('no attempt that runs'),
    });
    // Another attempt's goes on.
    others.socket.write('still here');
    expect(String((await once(others.socket, 'data'))[0])).toBe('still here');
    expect(facts.filter(({ kind }) => kind === 'refused')).toEqual([]);
  });

  test('a token that was made up, or none, is refused at the door', async () => {
    const host = await listenTcp(echo);
    const { where } = await egressScene([host.at], { onPort: true });
    expect(await connectBy(where.url ?? '', host.at)).toMatchObject({ status: 403 });
    expect(host.sockets.size).toBe(0);
  });

  test('an address of this machine or of the link is none for a name, whatever name servers say', async () => {
    const host = await listenTcp(echo);
    const port = Number(host.at.split(':')[1]);
    const answers = ['127.0.0.1', '0.0.0.0', '::1', '::ffff:127.0.0.1', '169.254.169.254', 'fe80::1', '224.0.0.1'];
    let asked = 0;
    const { connect, facts } = await egressScene([`a.example:${port} private`], {
      resolve: () => Promise.resolve([{ address: answers[(asked += 1) - 1] ?? '', family: 4 }]),
    });
    for (const address of answers)
      expect([address, await connect(`a.example:${port}`)]).toMatchObject([
        address,
        { status: 403, body: expect.stringContaining('not of the internet') },
      ]);
    expect(facts.map((fact) => 'code' in fact && fact.code)).toEqual(answers.map(() => 'address_not_allowed'));
    expect(host.sockets.size).toBe(0);
  });

  test('a private address is for a name that says so; what was looked at is what is connected to', async () => {
    // Of this machine, and played to be of a private network and of the internet.
    const [inside, outside] = [await listenTcp(echo, '127.0.0.5'), await listenTcp(echo, '127.0.0.6')];
    const trap = await listenTcp(echo);
    const kindOf = (address: string): AddressKind =>
      address === '127.0.0.5' ? 'private' : address === '127.0.0.6' ? 'public' : 'special';
    const asked: string[] = [];
    // The second answer, which a name server would give to who asks again, leads to this machine.
    const resolve = (host: string) => {
      const isFirst = !asked.includes(host);
      asked.push(host);
      const address = isFirst ? (host.startsWith('in') ? '127.0.0.5' : '127.0.0.6') : '127.0.0.1';
      return Promise.resolve([
        { address: '127.0.0.1', family: 4 },
        { address, family: 4 },
      ]);
    };
    const [into, out] = [`in.example:${inside.port}`, `out.example:${outside.port}`];
    const { connect } = await egressScene([into, `*.example:${outside.port}`], { resolve, kindOf });
    expect(await connect(into)).toMatchObject({ status: 403, body: expect.stringContaining('not of the internet') });
    expect((await connect(out.toUpperCase())).status).toBe(200);
    asked.length = 0;
    const open = await egressScene([`${into} private`], { resolve, kindOf });
    const { status, socket } = await open.connect(into.replace(':', '.:'));
    expect([status, asked]).toEqual([200, ['in.example']]);
    socket.write('x');
    expect(String((await once(socket, 'data'))[0])).toBe('x');
    expect([inside.sockets.size, outside.sockets.size, trap.sockets.size]).toEqual([1, 1, 0]);
  });

  test('a name that is not there, a port that nobody has, a server that never answers: each its own words', async () => {
    const gone = await listenTcp(echo);
    const { connect } = await egressScene([`127.0.0.1:1`, `nowhere.invalid`, 'slow.example', gone.at], {
      connectMs: 300,
      resolve: (host) =>
        host === 'slow.example'
          ? new Promise(() => undefined)
          : Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' })),
    });
    expect(await connect('127.0.0.1:1')).toMatchObject({ status: 502, body: expect.stringContaining('ECONNREFUSED') });
    expect(await connect('nowhere.invalid:443')).toMatchObject({
      status: 502,
      body: expect.stringContaining('ENOTFOUND'),
    });
    expect(await connect('slow.example:443')).toMatchObject({
      status: 502,
      body: expect.stringContaining('no answer in time'),
    });
  });

  test('what is no host and port', async () => {
    const { connect, facts } = await egressScene(['a.example']);
    for (const authority of ['a.example', 'a.example:443:443', 'user@a.example:443', '0x7f.1:443', 'a.example%00:443'])
      expect([authority, (await connect(authority)).status]).toEqual([
        authority,
        authority.startsWith('0x') ? 403 : 400,
      ]);
    expect(facts).toContainEqual(expect.objectContaining({ code: 'host_not_allowed', target: '127.0.0.1:443' }));
    expect(facts).toContainEqual(expect.objectContaining({ code: 'malformed_target', target: null }));
  });
});

test('an agent is told of the proxy by every name that programs look for, where there are hosts, and not for its models', () => {
  const paths = attemptPaths('/attempt');
  const env = (egress: boolean) => agentEnvironment({}, { ...specOf(), egress }, paths, 'http://127.0.0.1:9');
  expect(Object.keys(env(false)).filter((name) => /proxy/i.test(name))).toEqual([]);
  const told = Object.entries(env(true)).filter(([name]) => /proxy/i.test(name));
  const proxy = 'http://127.0.0.1:9';
  expect(Object.fromEntries(told)).toEqual({
    ...{ https_proxy: proxy, HTTPS_PROXY: proxy, http_proxy: proxy, HTTP_PROXY: proxy },
    ...{ no_proxy: '127.0.0.1,localhost,::1', NO_PROXY: '127.0.0.1,localhost,::1', NODE_USE_ENV_PROXY: '1' },
  });
});

describe('bounds', () => {
  test('so many at once at the door, and at the proxy; a place is free again when one ends', async () => {
    const host = await listenTcp(echo);
    const { connect, attempt } = await egressScene([host.at], { maxTunnels: 40 });
    const open = await Promise.all(Array.from({ length: 40 }, () => connect(host.at)));
    expect(new Set(open.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await connect(host.at)).toMatchObject({ status: 503, body: expect.stringContaining('40 connections') });
    // Of one attempt, not of all.
    expect((await (await attempt()).connect(host.at)).status).toBe(200);
    open[7]?.socket.destroy();
    await until(async () => (await connect(host.at)).status === 200);
    const narrow = await attempt({ maxTunnels: 1 });
    expect((await narrow.connect(host.at)).status).toBe(200);
    expect((await narrow.connect(host.at)).status).toBe(503);
  });

  test('one through which nothing goes is closed, at the door and at the proxy', async () => {
    const host = await listenTcp(echo);
    const { connect } = await egressScene([host.at], { idleMs: 200 });
    const { socket } = await connect(host.at);
    socket.resume();
    await once(socket, 'end');
    const other = await egressScene([host.at]);
    const narrow = await other.attempt({ idleMs: 200 });
    const second = await narrow.connect(host.at);
    second.socket.resume();
    await until(() => second.socket.readableEnded || second.socket.destroyed);
    await until(() => host.sockets.size === 0);
    expect(other.facts.at(-1)).toMatchObject({ kind: 'closed', sent: 0 });
  });

  test('the end of the proxy, and of the door, is the end of all of them', async () => {
    const host = await listenTcp(echo);
    const { connect, proxy, door, attempt } = await egressScene([host.at]);
    const other = await attempt();
    const open = [await connect(host.at), await other.connect(host.at)];
    await until(() => host.sockets.size === 2);
    await proxy.close();
    await until(() => host.sockets.size === 1);
    await door.close();
    await until(() => host.sockets.size === 0);
    for (const { socket } of open) socket.resume();
    await until(() => open.every(({ socket }) => socket.readableEnded || socket.destroyed));
    await expect(connect(host.at)).rejects.toThrow('ECONNREFUSED');
  });

  test('a door that is away is waited for', async () => {
    const host = await listenTcp(echo);
    const scene = await egressScene([host.at]);
    await scene.door.close();
    const waiting = scene.connect(host.at);
    const again = await scene.open();
    onTestFinished(() => again.close());
    expect((await waiting).status).toBe(200);
  });
});

describe('plain http', () => {
  const ask = (proxyUrl: string, url: string) =>
    new Promise<{ status: number; body: string }>((resolve, reject) => {
      const { hostname, port } = new URL(proxyUrl);
      const asked = get({ host: hostname, port, path: url, headers: { host: new URL(url).host } }, (response) => {
        text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
      });
      asked.once('error', reject);
    });

  test('is refused in words, also to a host that is allowed', async () => {
    const host = await listenTcp(echo);
    const { proxy } = await egressScene([host.at]);
    for (const url of [
      `http://${host.at}/`,
      'http://a.example/v1/x',
      `${proxy.baseUrl.replace('http:', 'https:')}/v1/x`,
    ])
      expect(await ask(proxy.baseUrl, url)).toMatchObject({ status: 403, body: expect.stringContaining('Plain http') });
    expect(host.sockets.size).toBe(0);
  });

  test('the whole URL of a model is as good as its path', async () => {
    const { proxy } = await egressScene([]);
    expect(await ask(proxy.baseUrl, `${proxy.baseUrl}/v1/messages`)).toEqual({ status: 200, body: 'model of one' });
    expect((await ask(proxy.baseUrl, `${proxy.baseUrl}/attempt/claim`)).status).toBe(404);
  });
});
