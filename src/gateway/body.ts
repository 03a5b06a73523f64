import type { IncomingMessage } from 'node:http';
import { CallFault } from './dialect.ts';

/** The largest request body the gateway takes: what Anthropic's own API takes. */
export const MAX_REQUEST_BYTES = 32 * 1024 * 1024;
/** How much of a body that is too large is still read, so that its sender gets to read why. */
const PATIENCE = 4;

/**
 * Reads a whole request body. Errors: 413 beyond `limit` bytes; `signal`'s reason once the client is gone.
 */
export async function readBody(request: IncomingMessage, signal: AbortSignal, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const onAbort = (): void => void request.destroy();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size <= limit) chunks.push(chunk);
      else chunks.length = 0;
      // A client in the middle of its upload does not look for an answer: cut off at once it would see a broken pipe, not why.
      if (size > limit * PATIENCE) break;
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw new CallFault(499, 'invalid_request', 'The agent closed its connection in the middle of its request.', {
      cause: error,
    });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  signal.throwIfAborted();
  if (size > limit) {
    throw new CallFault(
      413,
      'payload_too_large',
      `The request is larger than ${limit} bytes, which is all the gateway takes. Send less: compact the conversation.`,
    );
  }
  return Buffer.concat(chunks, size);
}
