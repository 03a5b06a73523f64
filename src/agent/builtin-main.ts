/** The built-in agent's process: an ACP agent on stdin and stdout, told by its environment (see `builtin/settings.ts`). */
import { Readable, Writable } from 'node:stream';
import { ndJsonStream } from '@agentclientprotocol/sdk';
import { serveAgent } from './builtin/agent.ts';
import { readSettings } from './builtin/settings.ts';
import { ownVersion } from './claim.ts';

try {
  const settings = readSettings(process.env);
  const stream = ndJsonStream(
    Writable.toWeb(process.stdout),
    Readable.toWeb(process.stdin) as ReadableStream<Uint8Array>,
  );
  await serveAgent(stream, settings, await ownVersion());
  process.exit(0);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
