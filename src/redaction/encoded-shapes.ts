import { findShapes, type Found } from './shapes.ts';
import { stableBase64 } from './spellings.ts';

/** What the keys begin with that are looked for in base64 as well: those whose beginning is long enough to be told there. */
const HEADS = [
  ...['sk-ant-', 'sk-proj-', 'sk-or-v1-', 'AIza', 'ghp_', 'gho_', 'ghs_', 'github_pat_', 'glpat-', 'xoxb-', 'xoxp-'],
  ...['AKIA', 'ASIA', 'npm_', 'hf_a', 'PRIVATE KEY-----', 'at_', 'aid_', '_KEY=', '_TOKEN=', '_SECRET=', 'earer '],
];
/** A piece of base64 that has one of them in it: four characters and more, wherever it begins in its group of three bytes. */
const TRIGGER = new RegExp(
  [
    ...new Set(
      HEADS.flatMap((head) => [0, 1, 2].map((before) => stableBase64(head, before)))
        .filter((text) => text.length >= 4)
        .map((text) => text.replaceAll('+', '[+-]').replaceAll('/', '[/_]')),
    ),
  ].join('|'),
);

const BASE64 = /[A-Za-z0-9+/_-]{16,}(?:\r?\n[A-Za-z0-9+/_-]+)*={0,2}/g;
const GROUP = 4;

/** Whether a text may hold a key of a known shape in base64. */
export function suspectsEncoded(text: string): boolean {
  return TRIGGER.test(text);
}

/** Keys of known shapes in what is base64, broken into lines or not. */
export function findEncoded(text: string): Found[] {
  if (!TRIGGER.test(text)) return [];
  const found: Found[] = [];
  for (const { 0: run, index } of text.matchAll(BASE64)) {
    const chars = run.replaceAll(/[\r\n]/g, '');
    if (!TRIGGER.test(chars)) continue;
    const placeOf = places(run, chars.length);
    // What was encoded may begin anywhere in the run: it may be a part of one, or a name may stand before it.
    for (let from = 0; from < GROUP; from += 1) {
      const decoded = Buffer.from(chars.slice(from), 'base64').toString('latin1');
      for (const { start, end, what, more } of findShapes(decoded)) {
        const first = placeOf(from + Math.floor((start * 8) / 6));
        const last = placeOf(from + Math.ceil((end * 8) / 6) - 1);
        const to = index + last + 1;
        found.push({
          start: index + first,
          end: to,
          what,
          more: more !== null && to === text.length ? { of: 'A-Za-z0-9+/_-', most: more.most * 2 } : null,
        });
      }
    }
  }
  return found;
}

/** Where in a run a character is that is counted without line breaks. */
function places(run: string, count: number): (index: number) => number {
  if (count === run.length) return (index) => index;
  const places = new Int32Array(count);
  for (let at = 0, index = 0; at < run.length; at += 1) {
    if (run[at] !== '\n' && run[at] !== '\r') places[index++] = at;
  }
  return (index) => places[index] ?? run.length - 1;
}
