import { createMiddleware } from 'hono/factory';
import type { HonoRequest } from 'hono';
import { MAX_BODY_BYTES } from '../contract/api.ts';
import { AppError } from '../errors.ts';
import type { DoorEnv } from './door.ts';
import { unsupportedMediaType } from './problem.ts';

const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

/**
 * Reads the body of a POST once, for everybody behind: bounded, as bytes, as UTF-8 without guessing, as JSON.
 * A body that is not declared as JSON is refused, because a form or text/plain is what a page elsewhere can send unasked.
 */
export const body = createMiddleware<DoorEnv>(async (c, next) => {
  c.set('body', new Uint8Array());
  if (c.req.method === 'POST') {
    const type = c.req.header('content-type');
    if (type !== undefined && !JSON_TYPE.test(type)) throw unsupportedMediaType();
    const bytes = await readBytes(c.req);
    if (bytes.length > 0 && type === undefined) throw unsupportedMediaType();
    // hono's validators find the text here, instead of decoding the bytes leniently themselves.
    Object.assign(c.req.bodyCache, { text: Promise.resolve(bytes.length === 0 ? '' : checkedText(bytes)) });
    c.set('body', bytes);
  }
  await next();
});

async function readBytes(request: HonoRequest): Promise<Uint8Array<ArrayBuffer>> {
  const declared = request.header('content-length');
  if (declared !== undefined && Number(declared) > MAX_BODY_BYTES) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of request.raw.body ?? []) {
      size += chunk.length;
      if (size > MAX_BODY_BYTES) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('invalid_request', 'The connection ended before the body did.', {
      cause: error,
      hint: 'Send it again.',
    });
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function tooLarge(): AppError {
  return new AppError('payload_too_large', `The body is larger than ${MAX_BODY_BYTES} bytes.`, {
    hint: 'Put what is long into the repository, and name it in the prompt.',
    details: { max_bytes: MAX_BODY_BYTES },
  });
}

/** The bytes as JSON text. Errors: invalid_encoding, invalid_json. */
function checkedText(bytes: Uint8Array): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new AppError('invalid_encoding', 'The body is not UTF-8.', {
      hint: 'Encode the JSON text as UTF-8.',
      cause: error,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new AppError('invalid_json', `The body is not JSON: ${why}`, {
      hint: 'Check quotes, commas and escapes.',
      cause: error,
    });
  }
  // `\ud800` alone is legal JSON, but no text: it could not be stored, nor handed to an agent, as it is.
  if (/\\u[dD][89a-fA-F]/.test(text) && !isWellFormed(value)) {
    throw new AppError('invalid_encoding', 'The body has half a surrogate pair, which is no character.', {
      hint: 'Send characters beyond U+FFFF as they are, or as both halves.',
    });
  }
  return text;
}

function isWellFormed(value: unknown): boolean {
  // Not recursive: a body can be nested a million deep.
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === 'string') {
      if (!next.isWellFormed()) return false;
    } else if (typeof next === 'object' && next !== null) {
      for (const [key, inner] of Object.entries(next)) open.push(key, inner);
    }
  }
  return true;
}
