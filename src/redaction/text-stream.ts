import { isRun, type Finder } from './finder.ts';
import { markOf, type OnFound } from './redact.ts';

/**
 * A text that comes in pieces, cut anywhere, and goes on without its secrets, in the same pieces.
 *
 * A piece waits only while its end could be the inside of a secret: while the run of visible characters at the end of the text is
 * longer than {@link FREE}. So of a secret that is cut at most FREE characters were let go before it is told; where
 * {@link TextStream.flush} ends the waiting early, fewer than a finder needs to tell it (16, or eight behind what a known shape begins
 * with). What continues a secret that was told is left out, however it is cut.
 */
export interface TextStream {
  /** Takes the next piece. Returns the pieces that go on now, in order; each that was taken comes back once. */
  take(text: string): string[];
  /** Lets go of what waits. What comes next is still looked at together with it. */
  flush(): string[];
  /** How many pieces wait. */
  readonly waiting: number;
}

/** The characters of a run that are let go at once: about as many as a key's maker puts before what is secret. */
export const FREE = 7;
/** What is remembered of the text before its last run: what may tell a secret, as `Authorization: Bearer `. */
const REMEMBERED = 64;
/** Characters of a run at whose end a secret may not be told yet: none is longer, but those that go on without end are told early. */
const LONGEST = 2048;
/** Characters that may wait. */
const MOST_WAITING = 2 * LONGEST;

/** A part of the text that does not go on. */
interface Cut {
  start: number;
  end: number;
  /** What stands in its place; nothing where that was said before. */
  mark: string;
}

export function createTextStream(finder: Finder, onFound?: OnFound): TextStream {
  /** The text before what waits, as it came. */
  let before = '';
  let waiting: string[] = [];
  let waitingChars = 0;
  /** How many characters the run at the end has. */
  let run = 0;
  /** So many characters of what waits belong to a secret whose mark is written. */
  let covered = 0;
  /** What else belongs to it, until something else comes. */
  let swallowing: { pattern: RegExp; most: number } | null = null;

  function swallow(text: string): void {
    if (swallowing === null) return;
    const taken = Math.min(swallowing.pattern.exec(text)?.[0].length ?? 0, swallowing.most);
    covered = waitingChars + taken;
    swallowing.most -= taken;
    if (taken < text.length || swallowing.most === 0) swallowing = null;
  }

  /** What of the waiting text does not go on. */
  function cutsOf(text: string): Cut[] {
    const cuts: Cut[] = covered === 0 ? [] : [{ start: 0, end: covered, mark: '' }];
    if (covered === text.length) return cuts;
    for (const { start, end, what, more } of finder.find(before + text)) {
      const from = Math.max(start - before.length, covered);
      const to = end - before.length;
      if (to <= from) continue;
      const isNew = covered === 0 || start - before.length >= covered;
      cuts.push({ start: from, end: to, mark: isNew ? markOf(what) : '' });
      if (isNew) onFound?.(what);
      if (more !== null) swallowing = { pattern: new RegExp(`^[${more.of}]*`), most: more.most };
    }
    return cuts;
  }

  function remember(text: string): void {
    const runBefore = Math.max(0, Math.min(run - waitingChars, MOST_WAITING));
    before = text.slice(-(REMEMBERED + runBefore));
  }

  /** A piece that holds nothing and ends in nothing goes on as it is: most of them. */
  function passes(text: string): boolean {
    if (waiting.length > 0 || swallowing !== null) return false;
    const own = runAtEnd(text);
    const runThen = own === text.length ? run + own : own;
    const whole = before + text;
    if (runThen > FREE || finder.find(whole).length > 0) return false;
    run = runThen;
    remember(whole);
    return true;
  }

  /** Lets go of the first pieces. */
  function release(count: number): string[] {
    const text = waiting.join('');
    const cuts = cutsOf(text);
    const pieces: string[] = [];
    let at = 0;
    for (const piece of waiting.slice(0, count)) {
      pieces.push(without(text, at, at + piece.length, cuts));
      at += piece.length;
    }
    waiting = waiting.slice(count);
    waitingChars -= at;
    covered = Math.max(0, ...cuts.filter(({ start }) => start < at).map(({ end }) => end - at));
    // Whether a secret goes on is found out again with what still waits.
    if (waitingChars > covered) swallowing = null;
    remember(before + text.slice(0, at));
    return pieces;
  }

  return {
    take: (text) => {
      if (passes(text)) return [text];
      swallow(text);
      waiting.push(text);
      waitingChars += text.length;
      const own = runAtEnd(text);
      run = own === text.length ? run + own : own;
      if (run <= FREE || covered === waitingChars) return release(waiting.length);
      if (waitingChars <= MOST_WAITING) return [];
      // Far from the end there is nothing left to find out.
      let count = 0;
      for (let left = waitingChars; count < waiting.length - 1; count += 1) {
        left -= waiting[count]?.length ?? 0;
        if (left < LONGEST) break;
      }
      return release(count);
    },
    flush: () => (waiting.length === 0 ? [] : release(waiting.length)),
    get waiting() {
      return waiting.length;
    },
  };
}

/** A part of the text without what was cut of it. A mark stands in the part that its cut begins in. */
function without(text: string, from: number, to: number, cuts: readonly Cut[]): string {
  let result = '';
  let at = from;
  for (const { start, end, mark } of cuts) {
    if (end <= from || start >= to) continue;
    result += text.slice(at, Math.max(start, at));
    if (start >= from) result += mark;
    at = Math.min(end, to);
  }
  return result + text.slice(at, to);
}

/** How many characters at the end of a text belong to one run. */
function runAtEnd(text: string): number {
  let length = 0;
  while (length < text.length && isRun(text.charCodeAt(text.length - 1 - length))) length += 1;
  return length;
}
