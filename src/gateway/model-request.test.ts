import { describe, expect, test } from 'vitest';
import { pathOf } from '../../test/support/gateway.ts';
import type { Dialect } from '../contract/dialect.ts';
import { routeOf } from './dialect.ts';
import { readModelRequest, type ModelRequest } from './model-request.ts';

const read = (text: string, dialect: Dialect = 'openai'): ModelRequest =>
  readModelRequest(Buffer.from(text), routeOf(new URL(pathOf(dialect), 'http://x').pathname)!);

const rewrite = (text: string, model = 'real', dialect: Dialect = 'openai'): string =>
  read(text, dialect).forProvider(model).toString('utf8');

describe('readModelRequest', () => {
  test('changes the model and not another byte', () => {
    const messages = '"messages" : [ {"content":"a \\"model\\": \\\\", "n": 12345678901234567890, "é":"日本\\ud800"} ]';
    expect(rewrite(`{ ${messages},\n "model" : "x/y" , "z":{"model":"inner"}}`)).toBe(
      `{ ${messages},\n "model" : "real" , "z":{"model":"inner"}}`,
    );
  });

  test('asks for the usage of a stream, and only of a stream', () => {
    expect(JSON.parse(rewrite('{"model":"m","stream":true}'))).toEqual({
      model: 'real',
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(JSON.parse(rewrite('{"stream_options":{"include_usage":false,"x":1},"stream":true,"model":"m"}'))).toEqual({
      model: 'real',
      stream: true,
      stream_options: { include_usage: true, x: 1 },
    });
    expect(JSON.parse(rewrite('{"stream_options":null,"stream":true,"model":"m"}'))).toMatchObject({
      stream_options: { include_usage: true },
    });
    expect(rewrite('{"model":"m","stream":false}')).toBe('{"model":"real","stream":false}');
    expect(rewrite('{"model":"m","stream":true}', 'real', 'responses')).toBe('{"model":"real","stream":true}');
  });

  test('reads names and models however they are escaped', () => {
    expect(read('{"mod\\u0065l":"a\\/b"}').model).toBe('a/b');
  });

  test.each([
    ['', 'no JSON object'],
    ['[]', 'no JSON object'],
    ['nonsense', 'no JSON object'],
    ['{}', 'names no model'],
    ['{"model":3}', 'names no model'],
    ['{"model":"a","model":"b"}', 'more than once'],
    ['{"model":"a","mod\\u0065l":"b"}', 'more than once'],
    ['{"model":"a"} x', 'goes on after its end'],
    ['{"model":"a"', 'a comma was expected'],
    ['{"model":"a', 'has no end'],
    ['{"model":"a\\"}', 'has no end'],
    ['{model:"a"}', 'a name was expected'],
    ['{"model" "a"}', 'a colon was expected'],
    ['{"model":"a",}', 'a name was expected'],
    ['{"a":[}],"model":"x"}', 'closed wrongly'],
    ['{"a":[{}', 'has no end'],
    ['{"a":nope,"model":"x"}', 'no JSON value'],
    ['{"a":,"model":"x"}', 'no JSON value'],
    ['{"a":\'b\',"model":"x"}', 'no JSON value'],
    [`{"a":${'['.repeat(10_001)}`, 'nested'],
  ])('refuses %j', (text, why) => {
    expect(() => read(text).model).toThrow(
      expect.objectContaining({ status: 400, message: expect.stringContaining(why) }),
    );
  });

  test('takes every JSON value beside the model', () => {
    const text = '{"a":-1.5e3,"b":true,"c":null,"d":[],"e":{},"f":"","model":"m" }';
    expect(JSON.parse(rewrite(text))).toEqual({ ...JSON.parse(text), model: 'real' });
  });
});
