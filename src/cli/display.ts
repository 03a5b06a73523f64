import { stripVTControlCharacters } from 'node:util';

/**
 * Text for a terminal: how wide it is, how it is cut, and what may not get through. What an agent says is shown to a person,
 * and must never be able to drive that person's terminal.
 */

// Code points that terminals draw two cells wide: East Asian Wide and Fullwidth, and what has an emoji presentation.
// Over-estimating costs a cell of space; under-estimating wraps a line and breaks the block that is redrawn in place.
const WIDE =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18aff}\u{1aff0}-\u{1b2ff}\u{1f200}-\u{1f2ff}\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const ZERO = /^[\p{M}\p{Cf}]$/u;
const ASCII = /^[\x20-\x7e]*$/;
/** C0 and C1 controls, line and paragraph separators, and what reorders or hides text (bidi controls, zero width, tags). */
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

/** Cells one code point takes: 0, 1 or 2. */
function cells(character: string): number {
  if (character.length === 1 && ASCII.test(character)) return 1;
  if (character === '\ufe0f') return 1; // makes the character before it an emoji, which may then be two cells wide
  if (ZERO.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

/** Cells a text takes in a terminal. It must hold no escape sequences (see {@link plainLine}). */
export function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += cells(character);
  return width;
}

/** The text cut to at most `columns` cells; what was cut is marked with `…`. */
export function fit(text: string, columns: number): string {
  if (columns <= 0) return '';
  if (widthOf(text) <= columns) return text;
  let width = 0;
  let end = 0;
  for (const character of text) {
    const next = cells(character);
    if (width + next > columns - 1) break;
    width += next;
    end += character.length;
  }
  return `${text.slice(0, end)}…`;
}

/** The end of the text in at most `columns` cells; what was cut before it is marked with `…`. */
export function fitEnd(text: string, columns: number): string {
  if (columns <= 0) return '';
  if (widthOf(text) <= columns) return text;
  let width = 0;
  let start = text.length;
  for (const character of [...text].toReversed()) {
    const next = cells(character);
    if (width + next > columns - 1) break;
    width += next;
    start -= character.length;
  }
  return `…${text.slice(start)}`;
}

/** Cut or filled with spaces to exactly `columns` cells. */
export function pad(text: string, columns: number, side: 'left' | 'right' = 'left'): string {
  const cut = fit(text, columns);
  const space = ' '.repeat(Math.max(0, columns - widthOf(cut)));
  return side === 'left' ? cut + space : space + cut;
}

/** Words broken into lines of at most `columns` cells; a word that is longer is cut into pieces. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (let word of text.split(' ')) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) <= columns) {
      line = `${line} ${word}`;
      continue;
    }
    if (line !== '') lines.push(line);
    while (widthOf(word) > columns) {
      let end = 0;
      let width = 0;
      for (const character of word) {
        if (width + cells(character) > columns) break;
        width += cells(character);
        end += character.length;
      }
      if (end === 0) break;
      lines.push(word.slice(0, end));
      word = word.slice(end);
    }
    line = word;
  }
  if (line !== '' || lines.length === 0) lines.push(line);
  return lines;
}

/** A text as one safe line: escape sequences and controls are gone, white space is single. */
export function plainLine(text: string): string {
  if (ASCII.test(text)) return text.replaceAll(/ {2,}/g, ' ').trim();
  return safe(text.replaceAll(/\s+/g, ' ')).trim();
}

/** A text as safe lines: like {@link plainLine}, but line breaks and indentation stay. */
export function plainLines(text: string): string[] {
  return text
    .replaceAll('\r\n', '\n')
    .split('\n')
    .map((line) => safe(line.replaceAll('\t', '    ')).trimEnd());
}

function safe(text: string): string {
  return stripVTControlCharacters(text).replaceAll(UNSAFE, '').toWellFormed();
}
