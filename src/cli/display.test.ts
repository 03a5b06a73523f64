import { describe, expect, test } from 'vitest';
import { fit, fitEnd, pad, plainLine, plainLines, widthOf, wrap } from './display.ts';

describe('width', () => {
  test.each([
    ['abc', 3],
    ['日本', 4],
    ['e\u0301', 1],
    ['🙂', 2],
    ['ｱｶﾞ', 3],
    ['…', 1],
    ['✓', 1],
    ['', 0],
  ])('%s takes %i cells', (text, width) => {
    expect(widthOf(text)).toBe(width);
  });
});

describe('cutting', () => {
  test('marks what was cut, and never exceeds the width', () => {
    expect(fit('a long text', 6)).toBe('a lon…');
    expect(fit('日本語日本語', 6)).toBe('日本…');
    expect(widthOf(fit('日本語日本語', 6))).toBeLessThanOrEqual(6);
    expect(fit('short', 6)).toBe('short');
    expect(fit('any', 0)).toBe('');
  });

  test('from the other end', () => {
    expect(fitEnd('a long text', 6)).toBe('… text');
    expect(fitEnd('日本語日本語', 6)).toBe('…本語');
    expect(fitEnd('short', 6)).toBe('short');
    expect(fitEnd('any', 0)).toBe('');
  });

  test('padding fills to the cell', () => {
    expect(pad('日', 4)).toBe('日  ');
    expect(pad('7', 3, 'right')).toBe('  7');
    expect(pad('too long', 4)).toBe('too…');
  });

  test('wrapping breaks words only where they are longer than a line', () => {
    expect(wrap('one two three', 7)).toEqual(['one two', 'three']);
    expect(wrap('abcdefghij k', 4)).toEqual(['abcd', 'efgh', 'ij k']);
    expect(wrap('', 4)).toEqual(['']);
    expect(wrap('日本', 1)).toEqual(['日本']);
  });
});

describe('what an agent says cannot drive the terminal', () => {
  const attacks = [
    '\u001b[2J\u001b[Hcleared',
    '\u001b]0;title\u0007named',
    '\u001b]52;c;ZXZpbA==\u001b\\clipboard',
    '\u009b31mred',
    '\u001bPq#0;2;0;0;0\u001b\\sixel',
    'line\rover',
    'back\b\b\bspace',
    'bell\u0007',
    '\u202egnitrever',
    'hidden\u200b\u2066text',
    'lone \ud800 half',
  ];
  test.each(attacks.map((text) => [JSON.stringify(text), text]))('%s', (_name, text) => {
    for (const line of [plainLine(text), ...plainLines(text)]) {
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u200b\u2028-\u202e\u2066]/);
      expect(line.isWellFormed()).toBe(true);
    }
  });

  test('what was meant stays', () => {
    expect(plainLine('  a\tb\n c  ')).toBe('a b c');
    expect(plainLine('naïve 日本 🙂')).toBe('naïve 日本 🙂');
    expect(plainLines('if x:\n\treturn 1\r\n')).toEqual(['if x:', '    return 1', '']);
  });
});
