import type { ModelMessage } from 'ai';
import { expect, test } from 'vitest';
import { estimateTokens, partAt, shortenResults, summaryMessage, transcriptOf } from './compaction.ts';

const call = (id: string): ModelMessage => ({
  role: 'assistant',
  content: [
    { type: 'text', text: `step ${id}` },
    { type: 'tool-call', toolCallId: id, toolName: 'bash', input: { command: id } },
  ],
});
const result = (id: string, value: string): ModelMessage => ({
  role: 'tool',
  content: [{ type: 'tool-result', toolCallId: id, toolName: 'bash', output: { type: 'text', value } }],
});
const task: ModelMessage = { role: 'user', content: 'the task' };
const work = (steps: number, size: number): ModelMessage[] => [
  task,
  ...Array.from({ length: steps }, (_, n) => [call(`${n}`), result(`${n}`, 'x'.repeat(size))]).flat(),
];

test('old long results are cut with a mark, the last ones and short ones stay', () => {
  const messages = work(8, 5000);
  const shorter = shortenResults(messages);
  expect(shorter.length).toBe(messages.length);
  const values = shorter
    .flatMap((message) => (message.role === 'tool' ? message.content : []))
    .map((part) => (part.type === 'tool-result' && part.output.type === 'text' ? part.output.value : ''));
  expect(values.map(({ length }) => length > 600)).toEqual([false, false, true, true, true, true, true, true]);
  expect(values[0]).toMatch(/^x{400}\n\[… 4600 characters were left out/);
  expect(estimateTokens(shorter)).toBeLessThan(estimateTokens(messages) - 2000);
  const short = work(8, 500);
  expect(shortenResults(short)).toBe(short);
  expect(shortenResults(shorter)).toBe(shorter);
});

test('a conversation is only parted before an answer, so that calls keep their results', () => {
  for (let steps = 1; steps < 6; steps += 1) {
    for (const keep of [0, 500, 1000, 3000, 100_000]) {
      const messages = work(steps, 2000);
      const at = partAt(messages, keep);
      if (steps === 1) {
        expect(at).toBeNull();
        continue;
      }
      expect(messages[at!]?.role).toBe('assistant');
      expect(at).toBeGreaterThan(1);
    }
  }
  expect(partAt(work(5, 2000), 0)).toBe(9);
  expect(partAt([task], 0)).toBeNull();
});

test('a transcript has everything in words, within its bound', () => {
  const text = transcriptOf(work(2, 10), 10_000);
  expect(text).toContain('[user]\nthe task');
  expect(text).toContain('(calls bash {"command":"1"})');
  expect(text).toContain('(bash gives) xxxxxxxxxx');
  const bounded = transcriptOf(work(50, 1000), 2000);
  expect(bounded.length).toBeLessThan(2100);
  expect(bounded).toMatch(/characters are left out/);
});

test('a summary begins with the task', () => {
  expect(summaryMessage(task, 'SUM').content).toMatch(/^the task\n\n\[[^]*\]\n\nSUM$/);
  expect(summaryMessage(undefined, 'SUM').content).toMatch(/SUM$/);
});
