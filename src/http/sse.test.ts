import { describe, expect, it } from 'vitest';
import { testDoor } from '../../test/support/public-door.ts';
import { framesIn, idsIn, sseClient } from '../../test/support/sse-client.ts';
import type { SseClient } from '../../test/support/sse-client.ts';
import { events, pathOf, stored, subscribed, turn } from '../../test/support/streams.ts';

describe('a stream', () => {
  it('replays what is stored, goes on live, and ends with the run', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(1200));
    const { port } = await door.serve();
    const client = sseClient(port, pathOf(run));
    const { status, headers } = await client.head();
    expect(status).toBe(200);
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
      'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    const { last } = door.store.range(run.no) ?? { last: 0 };
    await client.sees(`id: ${last}\n`);
    await door.append(run, events(3));
    await door.complete(run);
    expect(await client.over()).toBe(true);
    expect(client.body().toString().startsWith('retry: 1000\n\nid: ')).toBe(true);
    expect(client.body().subarray('retry: 1000\n\n'.length)).toEqual(stored(door, run));
    expect(door.streams.size).toBe(0);
    // The connection is not used up.
    client.socket.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await new Promise((resolve) => client.socket.once('data', resolve));
    client.cut();
  });

  it('that is cut after any number of bytes and resumed equals the log, byte for byte', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(40));
    await door.complete(run);
    const whole = stored(door, run).toString();
    const all = framesIn(Buffer.from(whole));
    const { port } = await door.serve();
    const resume = async (seen: string[]): Promise<SseClient> => {
      const last = idsIn(seen).at(-1);
      const client = sseClient(port, pathOf(run), {
        headers: last === undefined ? {} : { 'last-event-id': String(last) },
      });
      await client.over();
      return client;
    };
    for (let kept = 0; kept < all.length; kept += 1) {
      const client = await resume(all.slice(0, kept));
      expect([...all.slice(0, kept), ...client.frames()].join('')).toBe(whole);
      client.cut();
    }
    // Torn within a frame: only whole frames count as seen.
    for (let bytes = 1; bytes < whole.length; bytes += 61) {
      const seen = framesIn(Buffer.from(whole).subarray(0, bytes));
      const client = await resume(seen);
      expect([...seen, ...client.frames()].join('')).toBe(whole);
      client.cut();
    }
    const over = sseClient(port, pathOf(run), { headers: { 'last-event-id': String(idsIn(all).at(-1)) } });
    expect((await over.head()).status).toBe(204);
    over.cut();
  });

  it.each([false, true])(
    'hands over from the store to live events without loss or double, while events are written without a pause (told late: %s)',
    async (lateCommits) => {
      const door = await testDoor({ lateCommits, sse: { pageSize: 20, maxBacklog: 4096 } });
      const run = await door.addRun();
      const other = await door.addRun();
      const { port } = await door.serve();
      await door.append(run, events(300));
      let writing = true;
      const writer = (async () => {
        for (let at = 0; writing; at += 1) {
          await Promise.all([
            door.append(run, events(1 + (at % 17))),
            door.append(other, events(at % 3)),
            door.append(run, events(at % 5)),
          ]);
          if (at % 3 === 0) await turn();
        }
      })();
      const readers: { client: SseClient; after: number; variation: number | undefined }[] = [];
      for (let at = 0; at < 30; at += 1) {
        const { last } = door.store.range(run.no) ?? { last: 0 };
        const after = at % 5 === 0 ? 0 : at % 5 === 1 ? last : Math.floor((last * (at % 7)) / 7);
        const variation = at % 3 === 0 ? at % 4 : undefined;
        const client = sseClient(
          port,
          pathOf(
            run,
            `?after=${after}${variation === undefined || variation === 3 ? '' : `&variation_id=${variation}`}`,
          ),
        );
        readers.push({ client, after, variation: variation === 3 ? undefined : variation });
        if (at % 6 === 5) {
          client.socket.pause();
          setTimeout(() => client.socket.resume(), 60);
        }
        for (let turns = 0; turns < at % 5; turns += 1) await turn();
      }
      await Promise.all(readers.map(({ client }) => client.head()));
      await new Promise((resolve) => setTimeout(resolve, 150));
      writing = false;
      await writer;
      await door.complete(run);
      for (const { client, after, variation } of readers) {
        expect(await client.over()).toBe(true);
        const wanted = idsIn(framesIn(stored(door, run, after, variation)));
        expect(idsIn(client.frames())).toEqual(wanted);
        expect(wanted.length).toBeGreaterThan(0);
        client.cut();
      }
    },
  );

  it('of one variation has its events and the run’s own, replayed and live', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(30));
    const { port } = await door.serve();
    const clients = [0, 1, 2].map((variation) => sseClient(port, pathOf(run, `?variation_id=${variation}`)));
    await subscribed(door, 3);
    await turn();
    await door.append(run, events(8));
    // A commit of one variation only, and one of another: the first is nothing for the second's reader.
    await door.append(run, [{ variation: 0, data: '{"only":0}' }]);
    await door.append(run, [{ variation: 1, data: '{"only":1}' }]);
    await door.complete(run);
    for (const [variation, client] of clients.entries()) {
      expect(await client.over()).toBe(true);
      expect(client.body().subarray('retry: 1000\n\n'.length)).toEqual(stored(door, run, 0, variation));
      expect(client.body().includes('"only":1')).toBe(variation === 1);
      client.cut();
    }
  });

  it('prefers Last-Event-ID to ?after=', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    await door.append(run, events(10));
    await door.complete(run);
    const ids = idsIn(framesIn(stored(door, run)));
    const { port } = await door.serve();
    const client = sseClient(port, pathOf(run, `?after=${ids[1]}`), { headers: { 'Last-Event-ID': String(ids[7]) } });
    await client.over();
    expect(idsIn(client.frames())).toEqual(ids.slice(8));
    client.cut();
  });

  it('says so when the position cannot be used, and begins with the first event', async () => {
    const door = await testDoor();
    const older = await door.addRun();
    const run = await door.addRun();
    await door.append(older, events(5));
    await door.append(run, events(5));
    await door.complete(run);
    const { first, last } = door.store.range(run.no) ?? { first: 0, last: 0 };
    const { port } = await door.serve();
    for (const [cursor, reason] of [
      ['-1', 'malformed'],
      ['1.5', 'malformed'],
      ['abc', 'malformed'],
      ['99999999999999999999', 'malformed'],
      [String(last + 1_000_000), 'unknown'],
      [String(first - 1), 'pruned'],
    ]) {
      const client = sseClient(port, pathOf(run, `?after=${cursor}`));
      await client.over();
      const [, reset, ...rest] = client.body().toString().split('\n\n');
      expect(reset).toBe(`event: reset\ndata: ${JSON.stringify({ reason, first_available_id: first, last_id: last })}`);
      expect(rest.join('\n\n')).toBe(stored(door, run).toString());
      client.cut();
    }
  });

  it('takes the id of another run’s event for the position it is', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    const other = await door.addRun();
    await door.append(run, events(3));
    await door.append(other, events(3));
    await door.append(run, events(3));
    await door.complete(run);
    const between = door.store.range(other.no)?.last ?? 0;
    const { port } = await door.serve();
    const client = sseClient(port, pathOf(run, `?after=${between}`));
    await client.over();
    expect(client.body().subarray('retry: 1000\n\n'.length)).toEqual(stored(door, run, between));
    expect(client.frames()).toHaveLength(4);
    client.cut();
  });

  it('waits for a run that has said nothing yet, and keeps a reader of a run that was opened again', async () => {
    const door = await testDoor();
    const run = await door.addRun();
    const { port } = await door.serve();
    const early = sseClient(port, pathOf(run));
    await subscribed(door, 1);
    await door.append(run, events(4));
    await early.sees('"at":3');
    // run_complete, and a retry before anybody looked: the run is not over.
    await door.append(run, [{ type: 'run_complete' }, { type: 'run_status', data: '{"again":true}' }]);
    await early.sees('"again":true');
    await turn();
    expect(door.streams.size).toBe(1);
    await door.complete(run);
    expect(await early.over()).toBe(true);
    expect(early.body().subarray('retry: 1000\n\n'.length)).toEqual(stored(door, run));
    early.cut();
  });

  it('ends even where the run is known to be over only after its last event', async () => {
    const door = await testDoor({ sse: { heartbeatMs: 40 } });
    const run = await door.addRun();
    const { port } = await door.serve();
    const client = sseClient(port, pathOf(run));
    await subscribed(door, 1);
    await door.append(run, [{ type: 'run_complete' }]);
    await client.sees('run_complete');
    await turn();
    run.over = true;
    expect(await client.over()).toBe(true);
    client.cut();
  });

  it('ends when its run cannot be asked any more', async () => {
    const door = await testDoor({ sse: { heartbeatMs: 40 } });
    const run = await door.addRun();
    const { port } = await door.serve();
    door.flow.streamSource = async () => ({
      run: run.no,
      isOver: () => {
        if (run.over) throw new Error('no such row');
        return false;
      },
    });
    const client = sseClient(port, pathOf(run));
    await subscribed(door, 1);
    run.over = true;
    expect(await client.over()).toBe(true);
    client.cut();
  });
});
