import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { OutputCounts } from './agent-output.ts';
import { watchSilence } from './silence.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function watch(counts: Partial<OutputCounts> = {}) {
  const output: OutputCounts = {
    bytes: 0,
    messages: 0,
    unparsed: 0,
    dropped: 0,
    lastMessageAt: null,
    firstMessageAt: null,
    ...counts,
  };
  const conversation: { phase: string; promptedAt: number | null } = { phase: 'initialize', promptedAt: null };
  const asked: string[] = [];
  const { stop } = watchSilence({
    output,
    conversation,
    limits: { start_timeout_seconds: 10, silence_seconds: 5 },
    ask: (reason, message) => asked.push(`${reason}: ${message}`),
  });
  return { output, conversation, asked, stop };
}

test('an agent that never gets ready is silent', () => {
  const { asked } = watch();
  vi.advanceTimersByTime(9999);
  expect(asked).toEqual([]);
  vi.advanceTimersByTime(2);
  expect(asked).toEqual(['silent: The agent did not answer initialize within 10 s.']);
});

test('one that prints something else speaks no ACP', () => {
  const { asked } = watch({ unparsed: 3 });
  vi.advanceTimersByTime(10_001);
  expect(asked).toEqual([
    'protocol_error: The agent printed 3 lines, none of them an ACP message, and did not answer initialize within 10 s.',
  ]);
});

test('after the prompt it is the time since the last message', () => {
  const { output, conversation, asked } = watch();
  conversation.promptedAt = performance.now();
  for (let n = 0; n < 10; n += 1) {
    vi.advanceTimersByTime(4000);
    output.lastMessageAt = performance.now();
  }
  expect(asked).toEqual([]);
  vi.advanceTimersByTime(5001);
  expect(asked).toEqual(['silent: The agent sent no message for 5 s.']);
});

test('nothing is asked any more once it is over', () => {
  const { asked, stop } = watch();
  stop();
  vi.advanceTimersByTime(60_000);
  expect(asked).toEqual([]);
});
