import { expect, test } from 'vitest';
import { createFinder } from './finder.ts';
import { createWithPiece } from './pieces.ts';
import { hasDoubledNames, redactJson } from './redact.ts';

const finder = createFinder([]);
const key = 'ghp_aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5';

test('what looks like a key is not kept behind a name that is there twice', () => {
  expect(redactJson(finder, `{"a":{"text":"${key}","text":"x"}}`)).toBe('{"a":{"text":"x"}}');
  const message = `{"params":{"update":{"content":{"text":"${key}","text":"hi"}}}}`;
  const clean = createWithPiece(finder)(message, { piece: 'hi', clean: 'hi' }, undefined);
  expect(clean).toBe('{"params":{"update":{"content":{"text":"hi"}}}}');
});

test('text that only looks as if it held one comes back to the byte', () => {
  for (const json of [
    '{ "a" : "sk-12345678 : {\\"b\\":1}" , "big":12345678901234567890 }',
    '{"__proto__":{"constructor":"\\u0067o"},"":[{"x":{}},[],{"x":{"y":"a:b\\\\"}}]}',
    '["\\u0067",null,{"a":null}]',
  ]) {
    expect(redactJson(finder, json)).toBe(json);
    expect(hasDoubledNames(json, JSON.parse(json))).toBe(false);
  }
  expect(hasDoubledNames('{"a":{"b":1},"a":null}', { a: null })).toBe(true);
});
