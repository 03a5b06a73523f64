import type { IncomingMessage } from 'node:http';
import { CallFault } from './dialect.ts';

/** The largest request body the gateway takes: what Anthropic's own API takes. */
export const MAX_REQUEST_BYTES = 32 * 1024 * 1024;
/** How much of a body that is too large is still read, so that its sender gets to read why. */
const PATIENCE = 4;
const MAX_DEPTH = 10_000;

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

/** A top-level member of a JSON object: its name, and where its value's text stands. */
interface Member {
  name: string;
  start: number;
  end: number;
}

/** A model request as the gateway needs to know it; everything else stays the bytes that came. */
export interface ModelRequest {
  model: string;
  stream: boolean;
  /** The body for the provider: its own name for the model and, where `countTokens`, the usage of an OpenAI stream asked for. */
  forProvider(model: string, options: { countTokens: boolean }): Buffer;
}

/**
 * Reads what the gateway needs from a request's JSON object without parsing the conversation in it: a body is up to 32 MB,
 * and what is not touched goes on as it came, to the byte. Errors: 400 naming what is wrong.
 */
export function readModelRequest(body: Buffer): ModelRequest {
  const members = scanObject(body);
  const find = (name: string): Member | undefined => {
    const found = members.filter((member) => member.name === name);
    // Parsers differ in which of two they believe: the provider could see another model than the one that was checked.
    if (found.length > 1) throw invalid(`it holds ${JSON.stringify(name)} more than once`);
    return found[0];
  };
  const valueOf = (member: Member | undefined): unknown =>
    member === undefined ? undefined : parse(body, member.start, member.end);
  const modelAt = find('model');
  const model = valueOf(modelAt);
  if (modelAt === undefined || typeof model !== 'string') throw invalid('it names no model');
  const stream = valueOf(find('stream')) === true;
  const optionsAt = find('stream_options');
  return {
    model,
    stream,
    forProvider(name, { countTokens }) {
      const edits = [{ start: modelAt.start, end: modelAt.end, text: JSON.stringify(name) }];
      if (countTokens && stream) {
        if (optionsAt === undefined) {
          edits.push({ start: modelAt.end, end: modelAt.end, text: ',"stream_options":{"include_usage":true}' });
        } else {
          const given = valueOf(optionsAt);
          const options = { ...(typeof given === 'object' ? given : {}), include_usage: true };
          edits.push({ start: optionsAt.start, end: optionsAt.end, text: JSON.stringify(options) });
        }
      }
      return splice(body, edits);
    },
  };
}

function splice(body: Buffer, edits: Array<{ start: number; end: number; text: string }>): Buffer {
  const parts: Buffer[] = [];
  let from = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    parts.push(body.subarray(from, edit.start), Buffer.from(edit.text));
    from = edit.end;
  }
  parts.push(body.subarray(from));
  return Buffer.concat(parts);
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN = { brace: 0x7b, bracket: 0x5b };
const CLOSE = { brace: 0x7d, bracket: 0x5d };

function scanObject(body: Buffer): Member[] {
  const members: Member[] = [];
  let at = skipSpace(body, 0);
  if (body[at] !== OPEN.brace) throw invalid('it is no JSON object');
  at = skipSpace(body, at + 1);
  if (body[at] === CLOSE.brace) return closed(body, at, members);
  for (;;) {
    if (body[at] !== QUOTE) throw invalid(`a name was expected at byte ${at}`);
    const nameEnd = stringEnd(body, at);
    const name = parse(body, at, nameEnd);
    at = skipSpace(body, nameEnd);
    if (body[at] !== COLON) throw invalid(`a colon was expected at byte ${at}`);
    const start = skipSpace(body, at + 1);
    const end = valueEnd(body, start);
    members.push({ name: String(name), start, end });
    at = skipSpace(body, end);
    if (body[at] === CLOSE.brace) return closed(body, at, members);
    if (body[at] !== COMMA) throw invalid(`a comma was expected at byte ${at}`);
    at = skipSpace(body, at + 1);
  }
}

function closed(body: Buffer, at: number, members: Member[]): Member[] {
  if (skipSpace(body, at + 1) !== body.length) throw invalid(`it goes on after its end at byte ${at + 1}`);
  return members;
}

function skipSpace(body: Buffer, from: number): number {
  let at = from;
  while (body[at] === 0x20 || body[at] === 0x0a || body[at] === 0x0d || body[at] === 0x09) at++;
  return at;
}

/** The index after a string's closing quote. Most of a conversation is inside strings, and indexOf is native. */
function stringEnd(body: Buffer, start: number): number {
  let at = start;
  for (;;) {
    at = body.indexOf(QUOTE, at + 1);
    if (at === -1) throw invalid(`the string at byte ${start} has no end`);
    let before = at - 1;
    while (body[before] === BACKSLASH) before--;
    if ((at - before) % 2 === 1) return at + 1;
  }
}

function valueEnd(body: Buffer, start: number): number {
  const first = body[start];
  if (first === QUOTE) return stringEnd(body, start);
  if (first !== OPEN.brace && first !== OPEN.bracket) return scalarEnd(body, start);
  const expected: number[] = [];
  let at = start;
  while (at < body.length) {
    const byte = body[at];
    if (byte === QUOTE) {
      at = stringEnd(body, at);
      continue;
    }
    if (byte === OPEN.brace) expected.push(CLOSE.brace);
    else if (byte === OPEN.bracket) expected.push(CLOSE.bracket);
    else if (byte === CLOSE.brace || byte === CLOSE.bracket) {
      if (expected.pop() !== byte) throw invalid(`a bracket is closed wrongly at byte ${at}`);
      if (expected.length === 0) return at + 1;
    }
    if (expected.length > MAX_DEPTH) throw invalid(`it is nested more than ${MAX_DEPTH} deep`);
    at++;
  }
  throw invalid(`the value at byte ${start} has no end`);
}

function scalarEnd(body: Buffer, start: number): number {
  let at = start;
  while (at < body.length && body[at] !== COMMA && body[at] !== CLOSE.brace && skipSpace(body, at) === at) at++;
  parse(body, start, at);
  return at;
}

function parse(body: Buffer, start: number, end: number): unknown {
  try {
    return JSON.parse(body.toString('utf8', start, end));
  } catch {
    throw invalid(`there is no JSON value at byte ${start}`);
  }
}

function invalid(why: string): CallFault {
  return new CallFault(400, 'invalid_json', `The request's body cannot be used: ${why}.`);
}
