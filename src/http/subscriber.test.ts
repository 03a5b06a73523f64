import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { testDoor } from '../../test/support/public-door.ts';
import type { TestRun } from '../../test/support/public-door.ts';
import { sseClient } from '../../test/support/sse-client.ts';
import { events, pathOf, stored, subscribed, turn, until } from '../../test/support/streams.ts';

describe('all streams', () => {
  it('get a heartbeat for proxies and for pages, without an id', async () => {
    const door = await testDoor({ sse: { heartbeatMs: 20 } });
    const run = await door.addRun();
    const { port } = await door.serve();
    const clients = [sseClient(port, pathOf(run)), sseClient(port, pathOf(run))];
    for (const client of clients) {
      await client.sees('\n\n:\nevent: heartbeat\n');
      await client.sees('"}\n\n');
      const [, heartbeat = ''] = client.body().toString().split('\n\n');
      const data = /^:\nevent: heartbeat\ndata: (.*)$/.exec(heartbeat)?.[1] ?? '';
      expect(JSON.parse(data)).toEqual({ time: expect.stringMatching(/^\d{4}-.*\.\d{3}Z$/) as string });
      client.cut();
    }
  });

  it('end in order when the server does, and each is told when to come back', async () => {
    const door = await testDoor({ sse: { retryMs: 50, retryJitterMs: 1000 } });
    const run = await door.addRun();
    const { port, close } = await door.serve();
    await door.append(run, events(5));
    const clients = Array.from({ length: 300 }, () => sseClient(port, pathOf(run)));
    await Promise.all(clients.map((client) => client.sees('"at":4')));
    await close();
    const waits = new Set<number>();
    for (const client of clients) {
      expect(await client.over()).toBe(true);
      expect(client.frames()).toHaveLength(5);
      waits.add(Number(/retry: (\d+)\n\n$/.exec(client.body().toString())?.[1]));
    }
    expect(waits.size).toBeGreaterThan(100);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(50);
    expect(door.streams.size).toBe(0);
  });

  it('are cut off at shutdown when they take nothing', async () => {
    const door = await testDoor({ closeTimeoutMs: 100 });
    const run = await door.addRun();
    const { port, close } = await door.serve();
    const stuck = sseClient(port, pathOf(run), { stuck: true });
    await subscribed(door, 1);
    const text = JSON.stringify({ text: 'y'.repeat(10_000) });
    for (let batch = 0; batch < 12; batch += 1)
      await door.append(
        run,
        Array.from({ length: 100 }, () => ({ data: text })),
      );
    await close();
    stuck.socket.resume();
    expect(await stuck.over()).toBe(false);
  });

  it('leave nothing behind', async () => {
    const door = await testDoor();
    const runs = [await door.addRun(), await door.addRun()];
    const { port } = await door.serve();
    for (const run of runs) await door.append(run, events(20));
    for (let round = 0; round < 10; round += 1) {
      const clients = Array.from({ length: 20 }, (_, at) => sseClient(port, pathOf(runs[at % 2] as TestRun)));
      await Promise.all(clients.map((client, at) => (at % 4 === 0 ? client.head() : client.sees('"at":19'))));
      expect(door.streams.size).toBe(20);
      for (const client of clients) client.cut();
      await subscribed(door, 0);
    }
    expect(door.streams.watchedRuns).toBe(0);
    // Nobody is there any more, and a commit finds nobody.
    for (const run of runs) await door.append(run, events(1));
    expect(door.streams.backlog).toBe(0);
  });

  it('end when the key they were opened with is revoked', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    const { port } = await door.serve();
    const [mine, other] = await Promise.all([
      door.keys.create({ name: 'mine', scope: 'read' }),
      door.keys.create({ name: 'other', scope: 'read' }),
    ]);
    const streams = [mine, other].map(({ key }) =>
      sseClient(port, pathOf(run), { headers: { authorization: `Bearer ${key}` } }),
    );
    await subscribed(door, 2);
    await door.keys.revoke(mine.id);
    expect(await streams[0]?.over()).toBe(true);
    expect(door.streams.size).toBe(1);
    const again = sseClient(port, pathOf(run), { headers: { authorization: `Bearer ${mine.key}` } });
    expect((await again.head()).status).toBe(401);
    for (const client of [...streams, again]) client.cut();
  });

  it('are limited in number', async () => {
    const door = await testDoor({ sse: { maxSubscribers: 2 } });
    const run = await door.addRun();
    const { port } = await door.serve();
    const clients = [sseClient(port, pathOf(run)), sseClient(port, pathOf(run))];
    await subscribed(door, 2);
    const third = sseClient(port, pathOf(run));
    const { status, headers } = await third.head();
    expect([status, headers.get('retry-after')]).toEqual([503, '5']);
    await third.over();
    expect(third.body().toString()).toContain('"too_many_streams"');
    for (const client of [...clients, third]) client.cut();
  });
});

describe('on the wire', () => {
  it('HTTP/1.0 gets the same without chunks, and the end of the connection', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(600));
    const { port } = await door.serve();
    const client = sseClient(port, pathOf(run), { version: '1.0' });
    const { headers } = await client.head();
    expect([headers.get('transfer-encoding'), headers.get('connection')]).toEqual([undefined, 'close']);
    await client.sees('"at":599');
    await door.append(run, events(2));
    await door.complete(run);
    await new Promise((resolve) => client.socket.once('close', resolve));
    expect(client.body().subarray('retry: 1000\n\n'.length)).toEqual(stored(door, run));
  });

  it('HEAD gets the head', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    const { port } = await door.serve();
    const client = sseClient(port, pathOf(run), { method: 'HEAD' });
    const { status, headers } = await client.head();
    expect([status, headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    expect(door.streams.size).toBe(0);
    client.cut();
  });

  it('a stream that was asked for before the answer to the request before it waits its turn', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(2));
    const { port } = await door.serve();
    const gate = Promise.withResolvers<void>();
    const client = sseClient(port, pathOf(run));
    await subscribed(door, 1);
    client.cut();
    await subscribed(door, 0);
    const { streamSource, info } = door.flow;
    door.flow.info = async () => {
      await gate.promise;
      return info();
    };
    const first = sseClient(port, '/api/v1/info');
    const asked = Promise.withResolvers<void>();
    door.flow.streamSource = async (...of) => {
      asked.resolve();
      return streamSource(...of);
    };
    first.socket.write(`GET ${pathOf(run)} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
    await asked.promise;
    await turn();
    expect(door.streams.size).toBe(0);
    gate.resolve();
    await subscribed(door, 1);
    await first.over();
    await door.complete(run);
    await subscribed(door, 0);
    first.cut();
  });

  it('nothing is started for a reader that has gone meanwhile', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    const { port } = await door.serve();
    const gate = Promise.withResolvers<void>();
    const { streamSource } = door.flow;
    const asked = Promise.withResolvers<void>();
    let answered = false;
    door.flow.streamSource = async (...of) => {
      asked.resolve();
      await gate.promise;
      answered = true;
      return streamSource(...of);
    };
    const client = sseClient(port, pathOf(run));
    await asked.promise;
    client.cut();
    await new Promise((resolve) => setTimeout(resolve, 30));
    gate.resolve();
    await until(() => answered);
    await turn();
    expect(door.streams.size).toBe(0);
  });

  it('a reader that closes its side is let go', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    const { port } = await door.serve();
    const client = sseClient(port, pathOf(run));
    await client.head();
    client.socket.end();
    while (door.streams.size > 0) await door.append(run, events(1));
    expect(door.streams.watchedRuns).toBe(0);
    client.cut();
  });

  it('one connection serves stream after stream, and nothing piles up on it', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(2));
    await door.complete(run);
    const { port } = await door.serve();
    const warnings: Error[] = [];
    const warn = (warning: Error): void => void warnings.push(warning);
    process.on('warning', warn);
    const socket = connect(port, '127.0.0.1');
    let ends = 0;
    socket.on('data', (piece: Buffer) => {
      if (piece.toString('latin1').endsWith('0\r\n\r\n')) ends += 1;
    });
    for (let round = 1; round <= 15; round += 1) {
      socket.write(`GET ${pathOf(run)} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
      await until(() => ends === round);
    }
    await turn();
    process.off('warning', warn);
    expect(warnings).toEqual([]);
    socket.destroy();
  });
});
