import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { createDoorClient } from './door-client.ts';
import { followServer } from './server-link.ts';

/** A door whose links do what the test says, one after the other. */
async function follow(links: ((response: ServerResponse) => void)[]) {
  const log: string[] = [];
  const heard: unknown[] = [];
  let opened = 0;
  const server = createServer((_, response) => {
    const link = links[Math.min(opened, links.length - 1)];
    opened += 1;
    link?.(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = new AbortController();
  const door = createDoorClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, token: 't' });
  onTestFinished(() => {
    stop.abort();
    door.close();
    server.closeAllConnections();
    server.close();
  });
  const ended = followServer({
    door,
    onHave: (have) => heard.push(have),
    onStop: (reason) => heard.push(reason),
    onPrompt: (no) => heard.push(`prompt ${no}`),
    onOpen: () => heard.push('open'),
    log: (words) => log.push(words),
    signal: stop.signal,
    silenceMs: 200,
  });
  return { heard, log, ended, door, opened: () => opened };
}

test('a link that is open and silent is given up; words of a newer server are read over', async () => {
  const { heard, log } = await follow([
    (response) => {
      response.writeHead(200).flushHeaders();
    },
    (response) =>
      void response
        .writeHead(200)
        .end('{"have":3,"more":1}\nnonsense\n{"stop":"not_known_here"}\n{"stop":"cancelled"}\n'),
    (response) => void response.writeHead(200).write('{"have":7}\n'),
  ]);
  await until(() => heard.includes(7));
  // A first head that takes its time on a busy machine is given up before it is seen.
  expect(heard.filter((each) => each !== 'open')).toEqual([3, 'cancelled', 7]);
  expect(log).toContain('The link to the server broke: no message for 200 ms');
});

test('a 403 of the door is the end; one of something between is not', async () => {
  const { ended, door, opened } = await follow([
    (response) => void response.writeHead(403).end('<html>denied by the mesh</html>'),
    (response) => void response.writeHead(403).end('{"error":{"type":"forbidden","message":"over"}}'),
  ]);
  await ended;
  expect(opened()).toBe(2);
  expect(door.over.aborted).toBe(true);
});
