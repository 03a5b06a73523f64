import { WINDOW, type SecretPrints } from '../contract/secrets.ts';
import { findEncoded, suspectsEncoded } from './encoded-shapes.ts';
import { roll, shortHash } from './prints.ts';
import { findShapes, suspectsShape, type Found } from './shapes.ts';

/** Finds secrets in texts: those of a known shape, and those whose prints it has. */
export interface Finder {
  /** Whether JSON text may hold one in its strings; false is certain. One look at the raw text: nothing is parsed. */
  suspects(json: string): boolean;
  /** Secrets in a text, in order, none overlapping another. */
  find(text: string): Found[];
  /** The same, of those alone whose prints it has. */
  findKnown(text: string): Found[];
}

type Print = SecretPrints['prints'][number] & { salt: string };

const LINE_FEED = 10;
const RETURN = 13;
const BLANK = 32;
const QUOTE = 34;
const BACKSLASH = 92;

/** What a key can consist of, and what is held back with it where a text comes in pieces: visible ASCII. */
export const RUN = '!-~';

/** No secret is told by less. */
const A_RUN = /[!-~]{12}/;

export function isRun(code: number): boolean {
  return code > 32 && code < 127;
}

export function createFinder(sets: readonly SecretPrints[]): Finder {
  const byHash = new Map<number, Print[]>();
  /** Whether a hash's upper half is one of a print's: keeps most windows from being looked up. */
  const upper = new Uint8Array(65_536);
  for (const { salt, prints } of sets) {
    for (const print of prints) {
      upper[print.head >>> 16] = 1;
      byHash.set(print.head, [...(byHash.get(print.head) ?? []), { ...print, salt }]);
    }
  }
  const isKnowing = byHash.size > 0;
  /** The window, and where in the text each of its characters begins. */
  const window = new Uint16Array(WINDOW);
  const starts = new Int32Array(WINDOW);

  /**
   * Goes over a text once, line breaks left out, and tells of each head of a print. No print has white space in it: what is shorter
   * than a window between two blanks needs no hash.
   *
   * @param isJson escapes count as what they mean, and a quote that is none ends a string
   * @param onHead returns whether to go on
   * @returns whether there is anything in it that could be base64 of a key
   */
  function scan(text: string, isJson: boolean, onHead: (print: Print, start: number) => boolean): boolean {
    const { length } = text;
    let hash = 0;
    let count = 0;
    let mayEncode = false;
    let hasCapital = false;
    for (let at = 0; at < length; at += 1) {
      let code = text.charCodeAt(at);
      const start = at;
      if (code <= BLANK) {
        if (code !== LINE_FEED && code !== RETURN) {
          count = 0;
          hasCapital = false;
        }
        continue;
      }
      if (isJson && (code === BACKSLASH || code === QUOTE)) {
        if (code === QUOTE) {
          count = 0;
          hasCapital = false;
          continue;
        }
        at += 1;
        code = unescaped(text, at);
        if (text.charCodeAt(at) === LOWER_U) at += 4;
        if (code === LINE_FEED || code === RETURN) continue;
      }
      const slot = count & (WINDOW - 1);
      const leaving = window[slot] ?? 0;
      window[slot] = code;
      starts[slot] = start;
      count += 1;
      if (code >= CAPITAL_A && code <= CAPITAL_Z) hasCapital = true;
      if (count < WINDOW) continue;
      if (hasCapital) mayEncode = true;
      if (count === WINDOW) {
        hash = 0;
        for (let each = 0; each < WINDOW; each += 1) hash = roll(hash, window[each] ?? 0, 0);
      } else {
        hash = roll(hash, code, leaving);
      }
      if (upper[hash >>> 16] !== 1) continue;
      const prints = byHash.get(hash >>> 0);
      if (prints === undefined) continue;
      const first = count & (WINDOW - 1);
      let head = '';
      for (let each = 0; each < WINDOW; each += 1) {
        head += String.fromCharCode(window[(first + each) & (WINDOW - 1)] ?? 0);
      }
      for (const print of prints) {
        if (shortHash(print.salt, head) === print.check && !onHead(print, starts[first] ?? 0)) return mayEncode;
      }
    }
    return mayEncode;
  }

  /** Adds what is known of by its prints. Returns whether there may be base64 of something else. */
  function addKnown(text: string, found: Found[]): boolean {
    return scan(text, false, (print, start) => found.push(extentOf(text, start, print)) > 0);
  }

  return {
    suspects: (json) => {
      let isKnown = false;
      const mayEncode = scan(json, true, () => {
        isKnown = true;
        return false;
      });
      return isKnown || suspectsShape(json) || (mayEncode && suspectsEncoded(json));
    },
    find: (text) => {
      if (!A_RUN.test(text)) return [];
      const found: Found[] = [];
      const mayEncode = addKnown(text, found);
      found.push(...findShapes(text), ...(mayEncode ? findEncoded(text) : []));
      return joined(found);
    },
    findKnown: (text) => {
      const found: Found[] = [];
      if (isKnowing && text.length >= WINDOW) addKnown(text, found);
      return joined(found);
    },
  };
}

/** How far a secret reaches whose head was found: all of it, or as much as is there of one that was cut. */
function extentOf(text: string, start: number, { length, whole, wraps, salt, what }: Print): Found {
  let spelled = '';
  let end = start;
  /** Where the first line, or what may be a part of a key, is over. */
  let runEnd: number | null = null;
  for (; end < text.length && spelled.length < length; end += 1) {
    const code = text.charCodeAt(end);
    if (runEnd === null && !isRun(code)) runEnd = end;
    if (code !== LINE_FEED && code !== RETURN) spelled += text[end];
  }
  if (spelled.length === length && shortHash(salt, spelled) === whole) return { start, end, what, more: null };
  const cut = runEnd ?? end;
  const seen = cut - start;
  const isOpen = wraps ? text.slice(cut).trim() === '' : cut === text.length;
  if (seen >= length || !isOpen) return { start, end: cut, what, more: null };
  return { start, end: cut, what, more: { of: wraps ? `${RUN}\\r\\n` : RUN, most: length - seen } };
}

/** In order; of pieces that overlap, one that covers them all. */
function joined(found: Found[]): Found[] {
  if (found.length < 2) return found;
  const merged: Found[] = [];
  for (const each of found.toSorted((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last === undefined || each.start >= last.end) {
      merged.push({ ...each });
    } else if (each.end > last.end) {
      last.end = each.end;
      last.more = each.more;
    } else if (each.end === last.end) {
      last.more ??= each.more;
    }
  }
  return merged;
}

const CAPITAL_A = 65;
const CAPITAL_Z = 90;
const LOWER_U = 117;

/** The character that an escape stands for. */
function unescaped(text: string, at: number): number {
  const code = text.charCodeAt(at);
  switch (code) {
    case 110: // n
      return LINE_FEED;
    case 114: // r
      return RETURN;
    case LOWER_U:
      return Number.parseInt(text.slice(at + 1, at + 5), 16) || 0;
    default:
      // Of \b, \f and \t it is no matter what they are: no secret holds them.
      return code;
  }
}
