import { execFile, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { serve } from '../harness/serve.ts';

/**
 * The least that a start can cost, without recorder, journal or store: `/spawn` starts `echo` and passes on what it prints;
 * `/clone` makes a clone first, as every attempt needs one.
 */
const run = promisify(execFile);
let clones = 0;
let folder = '';
let repository = '';

const server = createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.flushHeaders();
  start(request.url === '/clone').then(
    (child) => {
      child.stdout.on('data', (chunk: Buffer) => response.write(`data: ${chunk.toString().trim()}\n\n`));
      child.once('close', () => response.end());
    },
    () => response.destroy(),
  );
});

async function start(withClone: boolean) {
  let cwd = folder;
  if (withClone) {
    clones += 1;
    cwd = join(folder, `clone-${clones}`);
    await run('git', ['clone', '--quiet', '--local', '--', repository, cwd]);
  }
  return spawn('echo', ['hello'], { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
}

const handlers = {
  open: async (options: { folder: string; repository: string }) => {
    ({ folder, repository } = options);
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
};
export type BareStart = typeof handlers;

serve(handlers, () => {
  server.closeAllConnections();
});
