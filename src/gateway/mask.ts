import { markOf } from '../redaction/redact.ts';
import { spellingsOf } from '../redaction/spellings.ts';

/** Takes a provider's secrets out of whatever it says. */
export interface Mask {
  /** For messages and error bodies. */
  text(text: string): string;
  /** For a body that passes through: as many stars as the secret has bytes, so that lengths stay true. */
  stream(): { push(chunk: Buffer): Buffer; end(): Buffer };
}

/** Shorter ones are placeholders (`ollama`, `EMPTY`, `sk-1234`), and words that a model may well say. */
const SHORTEST_IN_STREAM = 16;
const STAR = 0x2a;

/**
 * A mask for these secrets, in all spellings.
 *
 * @param redact takes what else nobody is to see out of words. Not out of a stream: what a model writes for an agent is its work, and
 *   a key of an example in it has to stay as it is.
 */
export function createMask(
  secrets: ReadonlyArray<string | null>,
  redact: (text: string) => string = (text) => text,
): Mask {
  const words = [...new Set(secrets.flatMap(spellings))];
  const inStream = words.filter((word) => word.length >= SHORTEST_IN_STREAM).map((word) => Buffer.from(word));
  const mark = markOf('key of the provider');
  return {
    text: (text) => redact(words.reduce((masked, word) => masked.replaceAll(word, mark), plain(text))),
    stream: () => streamMask(inStream),
  };
}

/** Without the escapes that JSON allows and does not need: some serialisers write `+` as `\u002B`. */
function plain(text: string): string {
  return text.replaceAll(/\\u00([2-7][0-9a-f])/gi, (escape, code: string) => {
    const character = String.fromCharCode(Number.parseInt(code, 16));
    return /["\\\u007f]/.test(character) ? escape : character;
  });
}

/** The longest first: one may be a part of another. In base64 only what is no ordinary word. */
function spellings(secret: string | null): string[] {
  if (secret === null || secret === '') return [];
  return spellingsOf(secret)
    .filter(({ text, isBase64 }) => !isBase64 || text.length >= SHORTEST_IN_STREAM)
    .map(({ text }) => text)
    .toSorted((a, b) => b.length - a.length);
}

function streamMask(secrets: readonly Buffer[]): { push(chunk: Buffer): Buffer; end(): Buffer } {
  let held: Buffer = Buffer.alloc(0);
  return {
    push(chunk) {
      if (secrets.length === 0) return chunk;
      let data = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      for (const secret of secrets) data = cover(data, secret);
      // Only what may be a secret's beginning waits for the next chunk: an event ends with a line break and waits for nothing.
      const keep = Math.max(...secrets.map((secret) => overlap(data, secret)));
      held = Buffer.from(data.subarray(data.length - keep));
      return data.subarray(0, data.length - keep);
    },
    end: () => held,
  };
}

function cover(data: Buffer, secret: Buffer): Buffer {
  let covered = data;
  for (let at = data.indexOf(secret); at !== -1; at = data.indexOf(secret, at + secret.length)) {
    if (covered === data) covered = Buffer.from(data);
    covered.fill(STAR, at, at + secret.length);
  }
  return covered;
}

/** How many bytes at the end of `data` are the beginning of `secret`. */
function overlap(data: Buffer, secret: Buffer): number {
  for (let size = Math.min(data.length, secret.length - 1); size > 0; size--) {
    if (data.compare(secret, 0, size, data.length - size) === 0) return size;
  }
  return 0;
}
