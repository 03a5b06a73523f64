import { describe, expect, it } from 'vitest';
import { testDoor } from '../../test/support/public-door.ts';
import { sseClient } from '../../test/support/sse-client.ts';
import { events, pathOf, stored, subscribed, until } from '../../test/support/streams.ts';

describe('a slow reader', () => {
  it('costs a bounded amount of memory, keeps nobody else waiting, and gets every event in the end', async () => {
    const maxBacklog = 256 * 1024;
    const door = await testDoor({ sse: { maxBacklog, heartbeatMs: 600_000 } });
    const run = await door.addRun();
    const { port } = await door.serve();
    const stuck = Array.from({ length: 50 }, () => sseClient(port, pathOf(run), { stuck: true }));
    const healthy = sseClient(port, pathOf(run));
    await subscribed(door, 51);
    let most = 0;
    const text = JSON.stringify({ text: 'y'.repeat(4000) });
    // 12 MB: more than kernel and sockets hold for a reader.
    for (let batch = 0; batch < 60; batch += 1) {
      await door.append(
        run,
        Array.from({ length: 50 }, () => ({ variation: 0, data: text })),
      );
      most = Math.max(most, door.streams.backlog);
      await healthy.sees(`id: ${door.store.lastId()}\n`);
    }
    await door.complete(run);
    expect(await healthy.over()).toBe(true);
    const log = stored(door, run);
    expect(healthy.body().subarray('retry: 1000\n\n'.length).equals(log)).toBe(true);
    expect(door.streams.size).toBe(50);
    expect(most).toBeGreaterThan(maxBacklog);
    // The limit, and what may come on top of it in one write.
    expect(most).toBeLessThan(51 * (maxBacklog + 50 * 4200));
    for (const client of stuck.slice(0, 3)) {
      client.socket.resume();
      expect(await client.over()).toBe(true);
      expect(client.body().subarray('retry: 1000\n\n'.length).equals(log)).toBe(true);
    }
    for (const client of [...stuck, healthy]) client.cut();
    await subscribed(door, 0);
  });

  it('is cut off when it takes nothing for too long, unlike one that is idle', async () => {
    const door = await testDoor({ sse: { stallMs: 150, heartbeatMs: 60_000 } });
    const run = await door.addRun();
    const idle = await door.addRun();
    const { port } = await door.serve();
    const stuck = sseClient(port, pathOf(run), { stuck: true });
    const patient = sseClient(port, pathOf(idle));
    await subscribed(door, 2);
    await patient.head();
    const text = JSON.stringify({ text: 'y'.repeat(10_000) });
    for (let batch = 0; batch < 12; batch += 1)
      await door.append(
        run,
        Array.from({ length: 100 }, () => ({ data: text })),
      );
    await subscribed(door, 1);
    await door.append(idle, events(1));
    expect(await patient.sees('"at":0')).toBe(true);
    stuck.cut();
    patient.cut();
  });

  it('gets no heartbeats on top of what it does not take', async () => {
    const door = await testDoor({ sse: { heartbeatMs: 20 } });
    const run = await door.addRun();
    const { port } = await door.serve();
    const stuck = sseClient(port, pathOf(run), { stuck: true });
    const healthy = sseClient(port, pathOf(await door.addRun()));
    await subscribed(door, 2);
    const text = JSON.stringify({ text: 'y'.repeat(10_000) });
    for (let batch = 0; batch < 12; batch += 1)
      await door.append(
        run,
        Array.from({ length: 100 }, () => ({ data: text })),
      );
    const beats = (): number => healthy.body().toString().split('event: heartbeat').length;
    // Comes true only where beats add nothing; until then the kernel may still take something.
    for (let before = -1; before !== door.streams.backlog;) {
      before = door.streams.backlog;
      expect(before).toBeGreaterThan(0);
      const then = beats() + 8;
      await until(() => beats() >= then);
    }
    healthy.cut();
    stuck.cut();
  });

  it('is let go when the log cannot be read for it', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(10));
    const { port } = await door.serve();
    const { readFrames } = door.store;
    door.store.readFrames = () => {
      throw new Error('disk I/O error');
    };
    const client = sseClient(port, pathOf(run));
    expect(await client.over()).toBe(false);
    expect(door.logged.join('')).toContain('disk I/O error');
    expect(door.streams.size).toBe(0);
    door.store.readFrames = readFrames;
  });
});
