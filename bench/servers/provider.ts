import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { scriptedHandler } from '../../src/gateway/scripted/handler.ts';
import { parseScript } from '../../src/gateway/scripted/script.ts';
import { serve } from '../harness/serve.ts';

/** A provider that answers at once, as events: what a call costs besides it is the way there. */
const answer = scriptedHandler(
  parseScript('models:\n  m:\n    turns: [{ text: "one two three four", usage: { input: 10, output: 4 } }]\n'),
);
const server = createServer((request, response) => void answer(request, response));
server.keepAliveTimeout = 60_000;

const handlers = {
  open: async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
};
export type ProviderServer = typeof handlers;

serve(handlers, () => server.closeAllConnections());
