import { describe, expect, test } from 'vitest';
import { createMask } from './mask.ts';

const KEY = 'sk-canary-0123456789/abc';

describe('mask', () => {
  test('takes a key out of a text, however it is escaped', () => {
    const mask = createMask([KEY, null, '']);
    expect(mask.text(`a ${KEY} b ${KEY.replace('/', '\\/')} c`)).toBe(
      'a [redacted: key of the provider] b [redacted: key of the provider] c',
    );
    expect(createMask(['with"quote-and-more']).text('{"m":"with\\"quote-and-more"}')).toBe(
      '{"m":"[redacted: key of the provider]"}',
    );
    expect(createMask([]).text(KEY)).toBe(KEY);
  });

  test('covers a key in a stream wherever its chunks end, and keeps the length', () => {
    const text = `data: sk-canary-0 ${KEY}${KEY}\n\nsk-canary-0123456789/ab! end sk-can`;
    const expected = `data: sk-canary-0 ${'*'.repeat(KEY.length * 2)}\n\nsk-canary-0123456789/ab! end sk-can`;
    const bytes = Buffer.from(text);
    for (let first = 0; first <= bytes.length; first++) {
      for (const second of [first, first + 1, first + 7, bytes.length]) {
        const stream = createMask([KEY]).stream();
        const parts = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
        const out = Buffer.concat([...parts.map((part) => stream.push(part)), stream.end()]);
        expect(out.toString()).toBe(expected);
      }
    }
  });

  test('holds nothing back that cannot be a key, and lets placeholders be', () => {
    const stream = createMask([KEY]).stream();
    expect(stream.push(Buffer.from('data: x\n\n')).toString()).toBe('data: x\n\n');
    expect(stream.end()).toHaveLength(0);
    expect(createMask(['ollama']).stream().push(Buffer.from('ollama')).toString()).toBe('ollama');
  });

  test('does not write into the bytes it was given', () => {
    const chunk = Buffer.from(KEY);
    createMask([KEY]).stream().push(chunk);
    expect(chunk.toString()).toBe(KEY);
  });
});
