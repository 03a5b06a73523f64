import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { AppError } from '../errors.ts';

/** A body of which nothing came for so long is given up, and its connection with it (ms). */
const IDLE_MS = 60_000;

/** Ends a request whose body does not come, however slowly it could. Stops by itself when the body is whole or its connection gone. */
export function guardBody(request: IncomingMessage, idleMs = IDLE_MS): void {
  let before = request.socket.bytesRead;
  const timer = setInterval(() => {
    const { bytesRead } = request.socket;
    if (request.complete) clearInterval(timer);
    else if (bytesRead === before) request.destroy();
    before = bytesRead;
  }, idleMs).unref();
  request.once('close', () => clearInterval(timer));
}

/** A whole body. Errors: payload_too_large (before it is read where it says its length), invalid_request (cut off). */
export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit);
  guardBody(request);
  const chunks: Buffer[] = [];
  for await (const chunk of piecesOf(request, request, limit)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * A body as a stream, decompressed where it is compressed; nothing of it is read before the stream is. It fails with
 * payload_too_large, invalid_request, unsupported_media_type.
 *
 * @param limit bytes of what comes out
 */
export function bodyStream(request: IncomingMessage, limit: number): Readable {
  return Readable.from(inflated(request, limit), { objectMode: false });
}

async function* inflated(request: IncomingMessage, limit: number): AsyncGenerator<Buffer> {
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' && encoding !== 'gzip' && encoding !== 'x-gzip') {
    throw new AppError('unsupported_media_type', `A body in ${encoding} cannot be read; gzip can.`);
  }
  guardBody(request);
  if (encoding === 'identity') {
    yield* piecesOf(request, request, limit);
    return;
  }
  // It may fail when nobody reads it any more.
  const gunzip = createGunzip().on('error', () => undefined);
  request.once('close', () => {
    if (!request.complete) gunzip.destroy(new Error('the request was cut off'));
  });
  try {
    yield* piecesOf(request, request.pipe(gunzip), limit);
  } finally {
    request.unpipe(gunzip);
    gunzip.destroy();
  }
}

async function* piecesOf(request: IncomingMessage, stream: Readable, limit: number): AsyncGenerator<Buffer> {
  let size = 0;
  try {
    // Not destroyed where this stops early: whoever sends is to read why.
    for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) throw tooLarge(limit);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    const what = request.readableAborted ? 'was cut off' : 'cannot be decompressed';
    throw new AppError('invalid_request', `The request’s body ${what}.`, { cause: error });
  }
}

function tooLarge(limit: number): AppError {
  return new AppError('payload_too_large', `The body is larger than ${limit} bytes.`);
}
