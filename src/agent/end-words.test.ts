import { expect, test } from 'vitest';
import { encodeEnvelope } from '../contract/envelope-codec.ts';
import { endingOfError, endingOfExit, endingOfStop, shorten } from './end-words.ts';

test.each([
  ['end_turn', 'end_turn'],
  ['max_tokens', 'max_tokens'],
  ['max_turn_requests', 'max_turns'],
  ['refusal', 'refusal'],
  ['cancelled', 'cancelled'],
] as const)('the stop reason %s is the end %s', (stop, reason) => {
  expect(endingOfStop(stop).reason).toBe(reason);
});

test('an unknown stop reason is an error of the protocol', () => {
  expect(endingOfStop(undefined).reason).toBe('protocol_error');
});

test.each([
  [
    'what our own agent says',
    { code: -32_603, message: 'Internal error', data: { kind: 'provider_auth', status: 401 } },
    'provider_auth',
  ],
  [
    'the same of a provider',
    { code: -32_603, message: 'Internal error', data: { kind: 'provider_error', status: 500, message: 'down' } },
    'provider_error',
  ],
  ["ACP's code", { code: -32_000, message: 'no' }, 'provider_auth'],
  ['a status in data', { code: -32_603, message: 'no', data: { statusCode: 401 } }, 'provider_auth'],
  ['another status in data', { code: -32_603, message: 'no', data: { statusCode: 529 } }, 'provider_error'],
  [
    'the words of Claude',
    {
      code: -32_603,
      message: 'Internal error: API Error: 401 {"type":"error","error":{"type":"authentication_error"}}',
    },
    'provider_auth',
  ],
  ['a key', { code: 1, message: 'Invalid API key provided' }, 'provider_auth'],
  ['an overload', { code: 1, message: 'API Error: 529 Overloaded' }, 'provider_error'],
  ['a dead gateway', { code: 1, message: 'fetch failed', data: 'ECONNREFUSED' }, 'provider_error'],
  [
    'a bug',
    { code: -32_603, message: 'Internal error', data: { details: 'undefined is not a function' } },
    'protocol_error',
  ],
  ['nothing', {}, 'protocol_error'],
] as const)('an error with %s', (_, error, reason) => {
  expect(endingOfError(error).reason).toBe(reason);
});

test('the error of the agent is given in its words, each once', () => {
  expect(
    endingOfError({ code: 1, message: 'Internal error', data: { details: 'it broke', message: 'Internal error' } })
      .message,
  ).toBe('Internal error: it broke');
  expect(endingOfError({ code: 1 }).message).toBe('The agent answered with an error and no message.');
});

test('an exit is told with what was said last', () => {
  expect(endingOfExit({ code: 1, signal: null }, 'initialize', '')).toEqual({
    reason: 'agent_exit',
    message: 'The agent ended during initialize, with exit code 1.',
    exit: { code: 1, signal: null },
  });
  expect(endingOfExit({ code: null, signal: 'SIGKILL' }, 'its turn', 'oh').message).toBe(
    'The agent ended during its turn, with signal SIGKILL (the system may have been out of memory). It said: oh',
  );
});

test.each(['x'.repeat(100_000), '\u0000'.repeat(5000), '😀'.repeat(5000), 'é\n"'.repeat(3000)])(
  'a long message is cut so that it fits a line',
  (text) => {
    const cut = shorten(text);
    expect(cut.endsWith(' […]')).toBe(true);
    expect(cut.isWellFormed()).toBe(true);
    expect(cut.length).toBeGreaterThan(300);
    const lines = encodeEnvelope({
      attempt: 'a',
      seq: 1,
      ts: '2026-01-01T00:00:00.000Z',
      type: 'eof',
      data: JSON.stringify({ message: cut }),
    });
    expect(lines.length).toBe(1);
  },
);
