import { expect, test } from 'vitest';
import { createLineSplitter } from './line-splitter.ts';

function split(chunks: readonly (string | Buffer)[], maxBytes = 10, keepBytes = 4) {
  const seen: string[] = [];
  const splitter = createLineSplitter({
    maxBytes,
    keepBytes,
    onLine: (line) => seen.push(line.toString('latin1')),
    onCut: ({ head, droppedBytes }) => seen.push(`${head.toString('latin1')}+${droppedBytes}`),
  });
  for (const chunk of chunks) {
    const own = Buffer.from(chunk as string);
    splitter.push(own);
    own.fill(0);
  }
  splitter.end();
  return seen;
}

test('splits on LF only, wherever the chunks end', () => {
  const text = 'a\n\nb\rc\u2028d\nlast';
  const expected = ['a', '', Buffer.from('b\rc\u2028d').toString('latin1'), 'last'];
  expect(split([text])).toEqual(expected);
  expect(split([...Buffer.from(text)].map((byte) => Buffer.from([byte])))).toEqual(expected);
});

test('a line at the limit is whole, one byte more is cut, and the next line is whole again', () => {
  const lines = `${'x'.repeat(10)}\n${'y'.repeat(11)}\nz\n${'w'.repeat(500)}`;
  const expected = ['x'.repeat(10), 'yyyy+7', 'z', 'wwww+496'];
  for (const size of [1, 3, 7, 1000]) {
    const chunks = Array.from({ length: Math.ceil(lines.length / size) }, (_, n) =>
      lines.slice(n * size, (n + 1) * size),
    );
    expect(split(chunks)).toEqual(expected);
  }
});

test('nothing is made of nothing', () => {
  expect(split(['a\n'])).toEqual(['a']);
  expect(split([])).toEqual([]);
});
