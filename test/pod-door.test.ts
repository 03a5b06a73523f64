import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { claimedAttempt, linkMessage, MAX_LINES_BYTES, type LinkMessage } from '../src/contract/attempt-door.ts';
import { heartbeat, logged, seeded, writtenJournal } from './support/journal-lines.ts';
import { openAttemptDoor, type PodAttempt } from './support/attempt-door.ts';
import { until } from './support/until.ts';

/** The attempt door as recorders in pods find it: real HTTP on a port, real files behind it. */

const post = (body: NonNullable<RequestInit['body']>) => ({ method: 'POST', body });
const claim = (pod: string) => post(JSON.stringify({ pod_uid: pod }));

/** What a link says, as it comes. */
function listenTo(response: Response): { said: LinkMessage[]; over: Promise<void> } {
  const said: LinkMessage[] = [];
  const read = async () => {
    let text = '';
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) said.push(linkMessage.parse(JSON.parse(line)));
    }
  };
  const over = read();
  // A test that ends before its link breaks it.
  over.catch(() => undefined);
  return { said, over };
}

describe('a recorder', () => {
  it('claims its attempt once and for all, and gets to know what it is to do', async () => {
    const { attempt } = await openAttemptDoor();
    const { ask, attemptId, base } = await attempt();
    const first = await ask('/attempt/claim', claim('pod-1'));
    expect(first.status).toBe(200);
    const spec = claimedAttempt.parse(await first.json());
    expect(spec).toMatchObject({ attempt_id: attemptId, prompt: 'Fix „it“.\n\nBe brief.', repository: { base } });
    expect(JSON.stringify(spec)).not.toMatch(/token|socket|mirrors/);
    expect((await ask('/attempt/claim', claim('pod-1'))).status).toBe(200);
    const second = await ask('/attempt/claim', claim('pod-2'));
    expect([second.status, await second.json()]).toMatchObject([409, { error: { type: 'attempt_taken' } }]);
    for (const [body, status] of [
      ['{', 400],
      ['{}', 400],
      ['{"pod_uid":""}', 400],
      ['{"pod_uid":"a","more":1}', 400],
      ['x'.repeat(5000), 413],
    ] as const)
      expect((await ask('/attempt/claim', post(body))).status).toBe(status);
  });

  it('brings its lines by two ways, hears how far they are, and the last word before its link ends', async () => {
    const { attempt, pods } = await openAttemptDoor();
    const { ask, attemptId, intake, revoke } = await attempt();
    const { lines, bytes } = writtenJournal(attemptId, 1500);
    const { said, over } = listenTo(await ask('/attempt/link'));
    const next = seeded(9);
    const recorder = (async () => {
      while (said.at(-1)?.have !== lines.length) {
        const have = said.findLast((message) => message.have !== undefined)?.have ?? 0;
        const upload = await ask('/attempt/lines', post(Buffer.concat(lines.slice(have, have + 100))));
        expect(upload.status).toBe(200);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    for (const [n, line] of lines.entries()) {
      if (next(10) > 0) intake.offer(logged(line));
      if (n % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await recorder;
    // What the flow does when it has read the last word.
    revoke();
    await pods.close(attemptId);
    await over;
    expect(said.at(-1)).toEqual({ have: lines.length });
    expect(readFileSync(intake.journal).equals(bytes)).toBe(true);
    for (const path of ['/attempt/link', '/repository/info/refs?service=git-upload-pack'])
      expect((await ask(path)).status).toBe(403);
  });

  it('hears of a gap and of a stop at once, and that the eof is stored even where all ends the moment it is', async () => {
    const { attempt, pods } = await openAttemptDoor();
    const { ask, attemptId, intake, revoke } = await attempt();
    const { lines } = writtenJournal(attemptId, 5);
    const { said, over } = listenTo(await ask('/attempt/link'));
    await until(() => said.length === 1);
    intake.offer(heartbeat(attemptId, 3));
    await until(() => said.length === 2);
    intake.stop('cancelled');
    await until(() => said.length === 3);
    expect(said).toEqual([{ have: 0 }, { have: 0 }, { stop: 'cancelled' }]);
    const upload = ask('/attempt/lines', post(Buffer.concat(lines)));
    await until(() => intake.seen === lines.length);
    revoke();
    const closed = pods.close(attemptId);
    expect(await (await upload).json()).toEqual({ have: lines.length });
    await closed;
    await over;
    expect(said.at(-1)).toEqual({ have: lines.length });
  });

  it('that was stopped may make no model call, and bring all it has', async () => {
    const { attempt } = await openAttemptDoor();
    const { ask, attemptId, stopped, intake } = await attempt();
    expect(await (await ask('/models/v1/messages', post('{}'))).text()).toBe(attemptId);
    const link = listenTo(await ask('/attempt/link'));
    stopped.abort();
    const refused = await ask('/models/v1/messages', post('{}'));
    expect([refused.status, await refused.json()]).toMatchObject([403, { error: { type: 'forbidden' } }]);
    const { lines } = writtenJournal(attemptId, 3);
    expect((await ask('/attempt/lines', post(Buffer.concat(lines)))).status).toBe(200);
    await until(() => link.said.at(-1)?.have === lines.length);
    expect((await ask('/repository/info/refs?service=git-upload-pack')).status).toBe(200);
    expect(intake.ended).toBe(true);
  });

  it('that comes again takes its old link’s place; one that goes is noticed', async () => {
    const { attempt } = await openAttemptDoor();
    const { ask, intake } = await attempt();
    const first = listenTo(await ask('/attempt/link'));
    const gone = new AbortController();
    await ask('/attempt/link', { signal: gone.signal });
    await first.over;
    expect(intake.links).toBe(1);
    gone.abort();
    await until(() => intake.links === 0);
  });

  it('that does not read its link loses it, and nothing is queued for it', async () => {
    const { attempt, port } = await openAttemptDoor();
    const { token, intake } = await attempt();
    const socket = connect(port, '127.0.0.1').pause();
    socket.on('error', () => undefined);
    let bytes = 0;
    let isLeft = false;
    // One with far more to say than any attempt has.
    intake.link = (onMessage) => {
      const flood = setInterval(() => {
        for (let n = 0; n < 2000 && !isLeft; n += 1) onMessage({ have: (bytes += 30) });
      }, 1);
      return () => {
        isLeft = true;
        clearInterval(flood);
      };
    };
    socket.write(`GET /attempt/link HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n\r\n`);
    // What the system's own buffers hold, and no more.
    await until(() => isLeft || bytes > 100_000_000);
    expect(isLeft).toBe(true);
    socket.destroy();
  });
});

describe('a result', () => {
  const patch = randomBytes(900_000);
  const sha = createHash('sha256').update(patch).digest('hex');
  const path = (offset: number, bytes = patch.length, name = sha) =>
    `/attempt/result/${name}?offset=${offset}&bytes=${bytes}`;
  const put = (body: Buffer) => ({ method: 'PUT', body: new Uint8Array(body) });
  const stateOf = async ({ ask }: PodAttempt) => (await ask(`/attempt/result/${sha}`)).json();

  it('comes in pieces, is refused where it is not what was said, and is there in the end', async () => {
    const { attempt, pods } = await openAttemptDoor();
    const one = await attempt();
    const { ask } = one;
    expect(await stateOf(one)).toEqual({ received: 0, complete: false });
    expect(await (await ask(path(0), put(patch.subarray(0, 500_000)))).json()).toEqual({
      received: 500_000,
      complete: false,
    });
    const wrong = await ask(path(0), put(patch));
    expect([wrong.status, await wrong.json()]).toEqual([
      409,
      { error: { type: 'upload_offset', message: expect.any(String) as string }, received: 500_000, complete: false },
    ]);
    const altered = await ask(path(500_000), put(Buffer.alloc(400_000)));
    expect([altered.status, await altered.json()]).toMatchObject([422, { error: { type: 'upload_damaged' } }]);
    expect(await stateOf(one)).toEqual({ received: 0, complete: false });
    expect((await ask(path(0, 1_000_001), put(patch))).status).toBe(413);
    for (const bad of ['offset=-1&bytes=5', 'bytes=5', 'offset=1.5&bytes=9', ''])
      expect((await ask(`/attempt/result/${sha}?${bad}`, put(patch))).status).toBe(400);
    expect((await ask(path(0, 5, 'abc'), put(patch))).status).toBe(404);
    expect(await (await ask(path(0), put(patch))).json()).toEqual({ received: patch.length, complete: true });
    expect(readFileSync(pods.patchFile(one.attemptId)).equals(patch)).toBe(true);
  });

  it('whose connection breaks goes on from what came', async () => {
    const { attempt, port } = await openAttemptDoor();
    const one = await attempt();
    const sent = request({
      port,
      path: path(0),
      method: 'PUT',
      headers: { authorization: `Bearer ${one.token}`, 'content-length': patch.length },
    });
    sent.on('error', () => undefined);
    sent.write(patch.subarray(0, 300_000));
    await until(async () => ((await stateOf(one)) as { received: number }).received === 300_000);
    sent.destroy();
    expect(await (await one.ask(path(300_000), put(patch.subarray(300_000)))).json()).toMatchObject({ complete: true });
  });
});

describe('the door', () => {
  it('lets each token to its own attempt alone, and none to what is not there', async () => {
    const { attempt, url } = await openAttemptDoor();
    const [one, two] = [await attempt(), await attempt()];
    const { lines } = writtenJournal(one.attemptId, 3);
    const foreign = await two.ask('/attempt/lines', post(Buffer.concat(lines)));
    expect([foreign.status, one.intake.have, two.intake.have]).toEqual([400, 0, 0]);
    for (const headers of [{}, { authorization: 'Bearer at_x' }, { authorization: `bearer ${one.token}` }]) {
      for (const path of ['/attempt/link', '/attempt/lines', '/repository/info/refs?service=git-upload-pack']) {
        const refused = await fetch(`${url}${path}`, { headers });
        expect([refused.status, await refused.json()]).toMatchObject([403, { error: { type: 'forbidden' } }]);
      }
    }
    for (const path of [
      '/',
      '/attempt',
      '/attempt/',
      '/attempt/lines/',
      '/repository/HEAD',
      '/repository/objects/info/packs',
    ])
      expect((await one.ask(path)).status).toBe(404);
    for (const [method, path, allow] of [
      ['GET', '/attempt/lines', 'POST'],
      ['GET', '/attempt/claim', 'POST'],
      ['POST', '/attempt/link', 'GET'],
      ['POST', `/attempt/result/${'a'.repeat(64)}`, 'PUT'],
      ['POST', '/repository/info/refs?service=git-upload-pack', 'GET'],
    ] as const) {
      const refused = await one.ask(path, { method });
      expect([refused.status, refused.headers.get('allow')]).toEqual([405, allow]);
    }
  });

  it('takes no more than its measure, and no line that is none', async () => {
    const { attempt } = await openAttemptDoor();
    const { ask, intake } = await attempt();
    expect((await ask('/attempt/lines', post(Buffer.alloc(MAX_LINES_BYTES + 1)))).status).toBe(413);
    const endless = new ReadableStream<Uint8Array>({ pull: (to) => to.enqueue(new Uint8Array(65_536)) });
    const streamed = ask('/attempt/lines', { method: 'POST', body: endless, duplex: 'half' });
    expect(
      await streamed.then(
        ({ status }) => status,
        () => 413,
      ),
    ).toBe(413);
    expect((await ask('/attempt/lines', post('not a line\n'))).status).toBe(400);
    expect(await (await ask('/attempt/lines', post(''))).json()).toEqual({ have: 0 });
    expect(intake.seen).toBe(0);
  });

  it('has so many connections for one address, and no more', async () => {
    const { attempt, port } = await openAttemptDoor();
    const { ask } = await attempt();
    let refused = 0;
    const sockets = Array.from({ length: 600 }, () =>
      connect(port, '127.0.0.1')
        .on('error', () => undefined)
        .on('close', () => (refused += 1))
        .resume(),
    );
    await until(() => refused >= 88);
    expect(refused).toBe(88);
    for (const socket of sockets) socket.destroy();
    await until(async () => (await ask('/attempt/lines', post('')).catch(() => null))?.status === 200);
  });

  it('outlives whatever is thrown at it', async () => {
    const { attempt, port, errors } = await openAttemptDoor();
    const { ask, token } = await attempt();
    const next = seeded(77);
    const head = (line: string, more = '') =>
      `${line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n${more}\r\n`;
    const thrown = [
      'GET / HTTP/9\r\n\r\n',
      '\0\0\0\r\n\r\n',
      head('GET //'),
      head('GET http://[/attempt/link'),
      head('GET /attempt/result/%ff?%ff'),
      head('POST /attempt/lines', 'content-length: 1000\r\n'),
      head('POST /attempt/lines', 'transfer-encoding: chunked\r\n') + 'zz\r\n',
      head('POST /repository/git-upload-pack', 'content-length: 9\r\ncontent-encoding: gzip\r\n') + 'not gzip.',
      head('POST /repository/git-upload-pack', 'content-length: 9\r\ncontent-encoding: br\r\n') + 'whatever.',
      head('POST /repository/git-upload-pack', 'content-length: 4\r\ngit-protocol: version=2;`id`\r\n') + 'zzzz',
      head(`PUT /attempt/result/${'a'.repeat(64)}?offset=0&bytes=99`, 'content-length: 99\r\n') + 'abc',
      `GET /${'x'.repeat(40_000)} HTTP/1.1\r\n\r\n`,
      ...Array.from({ length: 30 }, () => randomBytes(next(3000)).toString('latin1')),
    ];
    await Promise.all(
      thrown.map(
        (bytes) =>
          new Promise<void>((resolve) => {
            const socket = connect(port, '127.0.0.1', () => {
              socket.end(bytes, 'latin1');
              setTimeout(() => socket.destroy(), 20 + next(200));
            });
            socket
              .on('error', () => undefined)
              .on('close', () => resolve())
              .resume();
          }),
      ),
    );
    expect((await ask('/repository/info/refs?service=git-upload-pack')).status).toBe(200);
    expect(errors).toEqual([]);
  });
});
