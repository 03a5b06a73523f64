import { CallFault } from './dialect.ts';

/** A top-level member of a JSON object: its name, and where its value's text stands. */
export interface Member {
  name: string;
  start: number;
  end: number;
}

const MAX_DEPTH = 10_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN = { brace: 0x7b, bracket: 0x5b };
const CLOSE = { brace: 0x7d, bracket: 0x5d };

/**
 * Finds the members of a JSON object without parsing what is in them: a body is up to 32 MB, most of it a conversation.
 * Errors: 400 naming what is wrong, for what is no JSON object.
 */
export function scanObject(body: Buffer): Member[] {
  const members: Member[] = [];
  let at = skipSpace(body, 0);
  if (body[at] !== OPEN.brace) throw invalid('it is no JSON object');
  at = skipSpace(body, at + 1);
  if (body[at] === CLOSE.brace) return closed(body, at, members);
  for (;;) {
    if (body[at] !== QUOTE) throw invalid(`a name was expected at byte ${at}`);
    const nameEnd = stringEnd(body, at);
    const name = parseAt(body, at, nameEnd);
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
  parseAt(body, start, at);
  return at;
}

/** The value that stands between two places. Errors: 400. */
export function parseAt(body: Buffer, start: number, end: number): unknown {
  try {
    return JSON.parse(body.toString('utf8', start, end));
  } catch {
    throw invalid(`there is no JSON value at byte ${start}`);
  }
}

export function invalid(why: string): CallFault {
  return new CallFault(400, 'invalid_json', `The request's body cannot be used: ${why}.`);
}
