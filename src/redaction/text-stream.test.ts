import { describe, expect, test } from 'vitest';
import { seeded } from '../../test/support/seeded.ts';
import { createFinder } from './finder.ts';
import { printsOf } from './prints.ts';
import { markOf, redactText } from './redact.ts';
import { spellingsOf } from './spellings.ts';
import { createTextStream, FREE } from './text-stream.ts';

const KNOWN = 'canary-Zq81/x+9-AbCdEf0123456789==q';
const finder = createFinder([printsOf([{ value: KNOWN, what: 'key of p' }])]);

const secrets = [
  ...spellingsOf(KNOWN).map(({ text }) => text),
  'sk-ant-api03-abcDEF0123456789abcDEF0123456789',
  'sk-proj-abcDEF0123456789abcDEF',
  'ghp_abcDEF0123456789abcDEF0123456789abcd',
  Buffer.from('a=sk-ant-api03-abcDEF0123456789abcDEF0123456789').toString('base64'),
  'AKIAABCDEFGHIJ012345',
  'Authorization: Bearer abcdef0123456789ABCDEF',
  'MY_SECRET_KEY=abcdef0123456789',
  'https://user:pa55word-of-git@example.com/x.git',
  `at_${'aB3_'.repeat(10)}xyz`,
  `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${'aB3_'.repeat(8)}`,
  `-----BEGIN PRIVATE KEY-----\n${`${'aB3/'.repeat(16)}\n`.repeat(5)}-----END PRIVATE KEY-----`,
];
const words = [
  'the',
  'implementation',
  'of',
  'src/flow/ingest.ts',
  '日本語の文章',
  '"quoted"',
  'x',
  '(a,b)',
  '\n',
  'sk-',
  'é',
];

/** A text of words, secrets and long harmless runs. */
function textOf(random: () => number): string {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  let text = '';
  for (let left = 3 + random() * 20; left > 0; left -= 1) {
    const kind = random();
    if (kind < 0.25) text += pick(secrets);
    else if (kind < 0.3) text += 'lorem.ipsum/'.repeat(random() * 1500);
    else text += pick(words);
    text += random() < 0.7 ? ' ' : '';
  }
  return text;
}

function cutUp(text: string, random: () => number): string[] {
  const most = [1, 2, 5, 20, 200][Math.floor(random() * 5)]!;
  const pieces: string[] = [];
  for (let at = 0; at < text.length;) {
    const size = Math.ceil(random() * most);
    pieces.push(text.slice(at, at + size));
    at += size;
  }
  return pieces;
}

/**
 * Compares what a stream let go with the text as a whole. Returns how much of a secret stood before its mark at most; fails where
 * anything else differs.
 */
function compare(text: string, out: string): number {
  let most = 0;
  let from = 0;
  let at = 0;
  for (const { start, end, what } of finder.find(text)) {
    const kept = text.slice(from, start);
    expect(out.slice(at, at + kept.length)).toBe(kept);
    at += kept.length;
    const mark = markOf(what);
    let shown = 0;
    while (!out.startsWith(mark, at + shown)) {
      expect(out[at + shown]).toBe(text[start + shown]);
      shown += 1;
      expect(shown).toBeLessThan(end - start);
    }
    most = Math.max(most, shown);
    at += shown + mark.length;
    from = end;
  }
  expect(out.slice(at)).toBe(text.slice(from));
  return most;
}

describe('a text in pieces', () => {
  test.each(Array.from({ length: 40 }, (_, seed) => seed))('loses its secrets and nothing else (seed %i)', (seed) => {
    const random = seeded(seed + 1);
    for (let round = 0; round < 25; round += 1) {
      const text = textOf(random);
      const pieces = cutUp(text, random);
      const stream = createTextStream(finder);
      const out = [...pieces.flatMap((piece) => stream.take(piece)), ...stream.flush()];
      expect(out).toHaveLength(pieces.length);
      expect(compare(text, out.join(''))).toBeLessThanOrEqual(FREE);
    }
  });

  test('shows less of a secret than a finder needs, where something else comes in between', () => {
    // A password in a URL is told by what stands behind it.
    for (const secret of secrets.filter((each) => !each.startsWith('https:'))) {
      const stream = createTextStream(finder);
      const text = `so: ${secret} and on`;
      const out = [...text].flatMap((piece) => [...stream.take(piece), ...stream.flush()]);
      expect(out).toHaveLength([...text].length);
      // What it is may be told before it is known exactly.
      const what = finder.find(text)[0]?.what ?? '';
      const said = out.join('').replace(/\[redacted: [a-zA-Z ]+\]/, markOf(what));
      // The longest is a JWT, whose first part is the same for all.
      expect(compare(text, said)).toBeLessThan(40);
    }
  });

  test('keeps nobody waiting: prose goes on at once, a word when the next comes, a long run in the end', () => {
    const stream = createTextStream(finder);
    expect(stream.take('I look at it. ')).toEqual(['I look at it. ']);
    expect(stream.take('The ingest')).toEqual(['The ingest']);
    expect(stream.take('ion of')).toEqual(['ion of']);
    expect(stream.take(' implementa')).toEqual([]);
    expect(stream.take('tion ')).toEqual([' implementa', 'tion ']);
    let waited = 0;
    for (let sent = 0; sent < 1000; sent += 1) {
      stream.take('0123456789abcdef'.repeat(8));
      waited = Math.max(waited, stream.waiting);
    }
    expect(waited * 128).toBeLessThanOrEqual(4096 + 128);
    expect(stream.take('x'.repeat(1_000_000)).length).toBeGreaterThan(0);
  });

  test('a secret that is cut short is told by what there is of it', () => {
    expect(redactText(finder, `${KNOWN.slice(0, 20)}… and on`)).toBe('[redacted: key of p]… and on');
    expect(redactText(finder, 'sk-ant-api03-abc1')).toBe('[redacted: anthropic key]');
    expect(redactText(finder, 'keys begin with sk-ant-api03- there')).toBe('keys begin with sk-ant-api03- there');
  });
});
