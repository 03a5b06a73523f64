import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openAcks } from '../harness/acks.ts';
import type { SampleEvent } from '../harness/sample-event.ts';
import { serve } from '../harness/serve.ts';
import { createSource, type Source } from '../harness/source.ts';

/** node:http as most write it: stringify and `res.write` for each client and event. Nothing is stored, nobody can resume. */
const clients = new Set<ServerResponse>();
const server = createServer((_, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' });
  response.write('retry: 1000\n\n');
  response.socket?.setNoDelay(true);
  clients.add(response);
  response.once('close', () => clients.delete(response));
});
const acks = await openAcks();
let source = createSource(append, acks);

function append(events: readonly SampleEvent[]): void {
  for (const event of events) {
    for (const client of clients) {
      client.write(`id: ${event.seq}\nevent: agent_output\ndata: ${JSON.stringify(event)}\n\n`);
    }
  }
}

const handlers = {
  open: async () => {
    await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ackPort: acks.port };
  },
  /** Begins anew with seq 1. */
  run: () => {
    acks.reset();
    source = createSource(append, acks);
    return 'naive';
  },
  burst: (options: Parameters<Source['burst']>[0]) => source.burst(options),
  pace: (options: Parameters<Source['pace']>[0]) => source.pace(options),
};
export type NaiveServer = typeof handlers;

serve(handlers, () => {
  server.closeAllConnections();
});
