import { createReadStream } from 'node:fs';
import type { AttemptResult } from '../contract/attempt.ts';
import type { Finder } from '../redaction/finder.ts';

/** A line of a patch that holds, or looks like, a secret. */
export type KeyLine = NonNullable<AttemptResult['key_lines']>[number];

export interface PatchSecrets {
  /** The first line with a secret that this server knows; null where there is none. */
  known: KeyLine | null;
  /** Lines with what looks like a key, at most {@link MOST_LINES}: tests have keys that open nothing. */
  shapes: KeyLine[];
}

const MOST_LINES = 20;
/** Added text that is looked at in one go, and how much of it once more with what follows (characters). */
const MOST_TEXT = 256 * 1024;
const OVERLAP = 8 * 1024;

/**
 * Looks for secrets in what a patch adds. What it removes, and what stands around, is in the repository already. Binary files are
 * compressed in a patch: they are not looked into.
 */
export async function findInPatch(file: string, finder: Finder): Promise<PatchSecrets> {
  const found: PatchSecrets = { known: null, shapes: [] };
  const shown = new Set<string>();
  let path = '';
  /** Where in the new file we are, and how many lines of each side the hunk still has. */
  let line = 0;
  let before = 0;
  let after = 0;
  let added = '';
  /** The number of the first line of `added`. */
  let first = 0;

  function look(keep: number): void {
    if (added === '') return;
    const known = finder.findKnown(added);
    for (const { start, what } of finder.find(added)) {
      const at = { path, line: first + linesIn(added.slice(0, start)), what };
      const isKnown = known.some((each) => each.start === start);
      if (isKnown) found.known ??= at;
      const key = `${at.path}\0${at.line}`;
      if (isKnown || shown.has(key) || found.shapes.length >= MOST_LINES) continue;
      shown.add(key);
      found.shapes.push(at);
    }
    const from = keep === 0 ? added.length : Math.max(0, added.length - keep);
    first += linesIn(added.slice(0, from));
    added = added.slice(from);
  }

  function take(text: string): void {
    if (before <= 0 && after <= 0) {
      const hunk = /^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(text);
      if (text.startsWith('+++ ')) path = pathOf(text.slice(4));
      else if (hunk !== null) {
        look(0);
        before = Number(hunk[1] ?? 1);
        after = Number(hunk[3] ?? 1);
        line = Number(hunk[2]);
      }
      return;
    }
    const kind = text[0];
    if (kind === '+') {
      if (added === '') first = line;
      added += `${text.slice(1)}\n`;
      if (added.length > MOST_TEXT) look(OVERLAP);
    } else if (kind !== '-') {
      // What stands between two additions parts them.
      if (kind !== '\\') look(0);
    }
    if (kind === '+' || kind === ' ') {
      after -= 1;
      line += 1;
    }
    if (kind === '-' || kind === ' ') before -= 1;
    if (before <= 0 && after <= 0) look(0);
  }

  let rest = '';
  for await (const chunk of createReadStream(file, 'latin1')) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const each of lines) take(each);
  }
  if (rest !== '') take(rest);
  look(0);
  return found;
}

function linesIn(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) count += 1;
  return count;
}

/** `b/src/a.ts`, with a tab behind it where it has blanks; quoted as git does where it has anything stranger. */
function pathOf(text: string): string {
  const plain = Buffer.from(text.replace(/\t$/, ''), 'latin1').toString('utf8');
  return plain.replace(/^("?)b\//, '$1');
}
