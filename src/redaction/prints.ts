import { createHash, randomBytes } from 'node:crypto';
import { WINDOW, type SecretPrints } from '../contract/secrets.ts';
import { spellingsOf } from './spellings.ts';

/** A value that somebody must not see, with what it is. */
export interface Secret {
  value: string;
  /** For people: `key of anthropic`. */
  what: string;
}

/** The rolling hash's base: any odd number with its bits well mixed. */
const BASE = 0x9e_37_79_b1 | 0;
/** BASE to the power of {@link WINDOW}: what a character has become when it leaves the window. */
const LEAVING = Array.from({ length: WINDOW }).reduce<number>((power) => Math.imul(power, BASE), 1);

/** The hash of a window that goes on by one character. */
export function roll(hash: number, coming: number, leaving: number): number {
  return (Math.imul(hash, BASE) + coming - Math.imul(leaving, LEAVING)) | 0;
}

export function shortHash(salt: string, text: string): string {
  return createHash('sha256').update(salt).update(text).digest('hex').slice(0, 6);
}

/**
 * The parts of a value that are looked for: what white space leaves of it, where that is long enough to be told from a word. So a PEM
 * file is known by each of its lines, and `Bearer x` by x.
 */
export function partsOf(value: string): string[] {
  return [...new Set(value.split(/\s+/))].filter((part) => part.length >= WINDOW);
}

/**
 * Whether a part is random enough that its prints give nothing away: a person's word of 16 letters could be guessed from them. Those
 * are known to the server alone.
 */
export function isStrong(part: string): boolean {
  return part.length >= 20 && /\d/.test(part) && /[a-z]/i.test(part) && new Set(part).size >= 10;
}

/** The prints of secrets, in every spelling that is long enough. */
export function printsOf(secrets: Iterable<Secret>, salt: string = randomBytes(16).toString('hex')): SecretPrints {
  const prints = new Map<string, SecretPrints['prints'][number]>();
  for (const { value, what } of secrets) {
    for (const { text, isBase64 } of partsOf(value).flatMap(spellingsOf)) {
      if (text.length < WINDOW || prints.has(text)) continue;
      const head = text.slice(0, WINDOW);
      let hash = 0;
      for (let at = 0; at < WINDOW; at += 1) hash = roll(hash, head.charCodeAt(at), 0);
      const check = shortHash(salt, head);
      const whole = shortHash(salt, text);
      prints.set(text, { length: text.length, head: hash >>> 0, check, whole, wraps: isBase64, what });
    }
  }
  return { salt, prints: [...prints.values()] };
}
