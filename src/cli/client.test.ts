import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { frameOf } from '../contract/event.ts';
import { AppError } from '../errors.ts';
import { Client } from './client.ts';
import type { StreamItem } from './event-stream.ts';

/** A real server on a real socket; `port` 0 = any free one. */
async function serve(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  port = 0,
): Promise<{ url: string; port: number; server: Server; stop(): Promise<void> }> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => {
    server.listen(port, '127.0.0.1', resolve);
  });
  const { port: taken } = server.address() as AddressInfo;
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  onTestFinished(stop);
  return { url: `http://127.0.0.1:${taken}`, port: taken, server, stop };
}

const RETRY = 'retry: 10\n\n';
/** The log of a run: 30 events, the last one `run_complete`. */
const log = Array.from({ length: 30 }, (_, at) =>
  at === 29
    ? frameOf(30, 'run_complete', '{"status":"completed"}')
    : frameOf(
        at + 1,
        'agent_output',
        JSON.stringify({ variation_id: at % 2, kind: 'agent_message_chunk', content: `word ${at} 日本\n` }),
      ),
);

function cursorOf(request: IncomingMessage): number {
  return Number(request.headers['last-event-id'] ?? 0);
}

async function collect(stream: AsyncIterable<StreamItem>): Promise<StreamItem[]> {
  const items: StreamItem[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

function ids(items: readonly StreamItem[]): number[] {
  return items.flatMap((item) => (item.kind === 'event' ? [item.event.id] : []));
}

const ALL = Array.from({ length: 30 }, (_, at) => at + 1);

describe('stream', () => {
  test('cut five times, also in the middle of a frame and of a character: nothing is lost, nothing comes twice', async () => {
    const cursors: number[] = [];
    const { url } = await serve((request, response) => {
      const from = cursorOf(request);
      cursors.push(from);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const rest = Buffer.from(RETRY + log.slice(from).join(''));
      if (cursors.length > 5) return void response.end(rest);
      // An odd place, so that it falls into frames and characters.
      response.write(rest.subarray(0, 500 + cursors.length * 37), () => response.destroy());
    });
    const items = await collect(new Client({ url }).stream('k3xyzabcde'));
    expect(ids(items)).toEqual(ALL);
    expect(cursors).toHaveLength(6);
    expect(cursors[0]).toBe(0);
    expect(cursors[5]).toBeGreaterThan(10);
    expect(items.filter(({ kind }) => kind === 'lost')).toHaveLength(5);
    expect(items.filter(({ kind }) => kind === 'back')).toHaveLength(5);
    const texts = items.flatMap((item) =>
      item.kind === 'event' ? [frameOf(item.event.id, item.event.type as 'agent_output', item.text)] : [],
    );
    expect(texts.join('')).toBe(log.join(''));
  });

  test('a server that repeats what was sent already', async () => {
    let asked = 0;
    const { url } = await serve((request, response) => {
      asked += 1;
      response.writeHead(200);
      if (asked === 1) return void response.write(RETRY + log.slice(0, 10).join(''), () => response.destroy());
      response.end(log.slice(Math.max(0, cursorOf(request) - 4)).join(''));
    });
    expect(ids(await collect(new Client({ url }).stream('k3xyzabcde')))).toEqual(ALL);
  });

  test('a server that is killed and started anew on another port', async () => {
    const first = await serve((_request, response) => {
      response.writeHead(200);
      response.write(RETRY + log.slice(0, 12).join(''));
    });
    let place = first.url;
    const client = new Client({ url: first.url, relocate: async () => place });
    const items: StreamItem[] = [];
    for await (const item of client.stream('k3xyzabcde')) {
      items.push(item);
      if (item.kind !== 'event' || item.event.id !== 12 || place !== first.url) continue;
      await first.stop();
      place = (await serve((request, response) => void response.end(log.slice(cursorOf(request)).join('')))).url;
    }
    expect(ids(items)).toEqual(ALL);
  });

  test('a silent connection is taken for dead', async () => {
    let asked = 0;
    const { url } = await serve((request, response) => {
      asked += 1;
      response.writeHead(200);
      const rest = log.slice(cursorOf(request));
      if (asked === 1) response.write(RETRY + rest.slice(0, 3).join(''));
      else response.end(rest.join(''));
    });
    const items = await collect(new Client({ url }).stream('k3xyzabcde', { silence: 100 }));
    expect(ids(items)).toEqual(ALL);
    expect(items.find(({ kind }) => kind === 'lost')).toMatchObject({
      reason: expect.stringContaining('nothing was heard for 0.1 s') as string,
    });
  });

  test('a reset begins the log anew', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200);
      response.end(`event: reset\ndata: {"reason":"unknown"}\n\n${log.slice(20).join('')}`);
    });
    const items = await collect(new Client({ url }).stream('k3xyzabcde', { after: 999 }));
    expect(items[0]).toEqual({ kind: 'reset', data: { reason: 'unknown' } });
    expect(ids(items)).toEqual(ALL.slice(20));
  });

  test('a run that was retried is not over at its first run_complete; a choice may follow the last', async () => {
    const retried = [
      frameOf(1, 'run_complete', '{"status":"failed"}'),
      frameOf(2, 'run_status', '{"status":"running"}'),
      frameOf(3, 'run_complete', '{"status":"completed"}'),
      frameOf(4, 'run_choice', '{"winning_variation_id":0}'),
    ];
    let asked = 0;
    const { url } = await serve((request, response) => {
      asked += 1;
      response.writeHead(200);
      const rest = retried.slice(cursorOf(request));
      response.end(RETRY + (asked === 1 ? rest.slice(0, 2) : rest).join(''));
    });
    expect(ids(await collect(new Client({ url }).stream('k3xyzabcde')))).toEqual([1, 2, 3, 4]);
    expect(asked).toBe(2);
  });

  test('nothing after the cursor of a run that is over: 204', async () => {
    const { url } = await serve((_request, response) => response.writeHead(204).end());
    expect(await collect(new Client({ url }).stream('k3xyzabcde', { after: 30 }))).toEqual([]);
  });

  test('heartbeats and comments say nothing; a variation and the key are asked for', async () => {
    let seen: { url: string | undefined; key: string | undefined } | null = null;
    const { url } = await serve((request, response) => {
      seen = { url: request.url, key: request.headers.authorization };
      response.writeHead(200);
      response.end(`:\nevent: heartbeat\ndata: {}\n\n${log[29] ?? ''}`);
    });
    expect(
      ids(await collect(new Client({ url, key: 'aid_x' }).stream('k3xyzabcde', { variation: 0, after: 3 }))),
    ).toEqual([30]);
    expect(seen).toEqual({ url: '/api/v1/runs/k3xyzabcde/stream?variation_id=0&after=3', key: 'Bearer aid_x' });
  });

  test('waits longer after each failure, and ends when it is told to', async () => {
    const { url, stop } = await serve(() => undefined);
    await stop();
    const control = new AbortController();
    const waits: number[] = [];
    for await (const item of new Client({ url }).stream('k3xyzabcde', { signal: control.signal })) {
      if (item.kind === 'lost') waits.push(item.inMs);
      if (waits.length === 3) control.abort();
    }
    expect(waits).toEqual([200, 400, 800]);
  });

  test('a refusal is final', async () => {
    const { url } = await serve((_request, response) =>
      problem(response, { status: 404, code: 'run_not_found', detail: 'There is no run "x".' }),
    );
    await expect(collect(new Client({ url }).stream('x'))).rejects.toMatchObject({ code: 'run_not_found' });
  });
});

function problem(
  response: ServerResponse,
  { status, code, detail, ...more }: { status: number; code: string; detail: string; [name: string]: unknown },
): void {
  response.writeHead(status, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify({ type: `/problems/${code}`, title: 't', status, detail, code, ...more }));
}

async function failure(promise: Promise<unknown>): Promise<AppError> {
  const error: unknown = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (error instanceof AppError) return error;
  throw new Error('no AppError was thrown', { cause: error });
}

describe('calls', () => {
  test('a problem document becomes the error it was', async () => {
    const { url } = await serve((_request, response) =>
      problem(response, {
        status: 409,
        code: 'already_chosen',
        detail: 'Variation 1 was chosen.',
        hint: 'Use force.',
        request_id: 'q',
        errors: [{ path: 'force', message: 'is false' }],
      }),
    );
    const error = await failure(new Client({ url }).select('k3xyzabcde', { winning_variation_id: 0 }));
    expect(error).toMatchObject({
      code: 'already_chosen',
      message: 'Variation 1 was chosen.\nforce: is false',
      hint: 'Use force.',
      exitCode: 4,
    });
    expect(error.details).toMatchObject({ request_id: 'q' });
  });

  test("answers that are not AIdeator's", async () => {
    const { url } = await serve((request, response) => {
      if (request.url === '/api/v1/info') return void response.writeHead(502).end('<html>');
      if (request.url === '/api/v1/runs') return problem(response, { status: 418, code: 'teapot', detail: 'No.' });
      response.writeHead(200).end('{"a":1}');
    });
    const client = new Client({ url });
    expect(await failure(client.info())).toMatchObject({
      code: 'server_unreachable',
      message: `${url} answered 502, with a web page.`,
    });
    expect(await failure(client.runs())).toMatchObject({ code: 'internal', message: 'No.' });
    expect(await failure(client.run('k3xyzabcde'))).toMatchObject({
      code: 'internal',
      hint: expect.stringContaining('different versions') as string,
    });
  });

  test('nobody there', async () => {
    const { url, stop } = await serve(() => undefined);
    await stop();
    expect(await failure(new Client({ url }).info())).toMatchObject({
      code: 'server_unreachable',
      exitCode: 6,
      message: expect.stringContaining('ECONNREFUSED') as string,
    });
  });

  test('a lost answer is asked for again where the server went, with the same idempotency key; without a key it is not', async () => {
    const keys: unknown[] = [];
    const answer = {
      run_id: 'k3xyzabcde',
      status: 'queued',
      stream_url: '/s',
      status_url: '/t',
      base: 'b',
      isolation: 'none',
    };
    const second = await serve((request, response) => {
      keys.push(request.headers['idempotency-key']);
      response.end(JSON.stringify(answer));
    });
    const first = await serve((request, response) => {
      keys.push(request.headers['idempotency-key']);
      response.destroy();
    });
    const client = (): Client => new Client({ url: first.url, relocate: async () => second.url });
    expect(await client().submit({ repository: '/r', prompt: 'p' })).toEqual(answer);
    expect(keys).toHaveLength(2);
    expect(keys[0]).toEqual(expect.any(String));
    expect(keys[1]).toBe(keys[0]);
    expect(await failure(client().ship('k3xyzabcde', { kind: 'branch' }))).toMatchObject({
      code: 'server_unreachable',
    });
    expect(keys).toHaveLength(3);
  });

  test('bytes stay bytes; forgetting says whether it is done', async () => {
    const { url } = await serve((request, response) => {
      if (request.method === 'DELETE')
        return void response.writeHead(request.url === '/api/v1/runs/gone' ? 204 : 202).end();
      response.end(Buffer.from([0xff, 0x00, 0xfe]));
    });
    const client = new Client({ url: `${url}/` });
    expect([...(await client.patch('k3xyzabcde', 0))]).toEqual([0xff, 0x00, 0xfe]);
    expect([await client.forget('gone'), await client.forget('busy')]).toEqual([true, false]);
    await client.revokeKey('a b');
  });
});
