import { describe, expect, test } from 'vitest';
import { output, sampleEvents } from '../../test/support/sample-run.ts';
import type { Event } from '../contract/api.ts';
import { wordsOf } from './event-words.ts';
import { colours, noColours } from './palette.ts';
import { Transcript } from './transcript.ts';

const AT = new Date(2026, 10, 23, 12, 3, 4).toISOString();
const options = { label: (index: number) => `${index} s${index}`, palette: noColours };

function chunk(text: string, variation = 0, kind = 'agent_thought_chunk'): Event {
  return {
    id: 1,
    type: 'agent_output',
    data: { timestamp: AT, ...output(variation, { sessionUpdate: kind, content: { type: 'text', text } }, text) },
  };
}

function update(variation: number, fields: Record<string, unknown>): Event {
  return { id: 1, type: 'agent_output', data: { timestamp: AT, ...output(variation, fields, null) } };
}

describe('coalescing', () => {
  test('words become lines; variations do not mix', () => {
    const transcript = new Transcript(options);
    expect(transcript.push(chunk('Only the'))).toEqual([]);
    expect(transcript.push(chunk('Another', 1))).toEqual([]);
    expect(transcript.push(chunk(' first.\nAnd'))).toEqual(['12:03:04 [0 s0] thinking: Only the first.']);
    expect(transcript.push(chunk(' says', 0, 'agent_message_chunk'))).toEqual(['12:03:04 [0 s0] thinking: And']);
    expect(transcript.flush()).toEqual(['12:03:04 [1 s1] thinking: Another', '12:03:04 [0 s0] says: says']);
    expect(transcript.flush()).toEqual([]);
  });

  test('a long text is cut after a sentence, an endless one after a word', () => {
    const transcript = new Transcript(options);
    const sentence = 'This is a sentence of some length that ends here. ';
    expect(transcript.push(chunk(`${sentence.repeat(4)}And more`))).toEqual([
      `12:03:04 [0 s0] thinking: ${sentence.repeat(4).trim()}`,
    ]);
    expect(transcript.flush()).toEqual(['12:03:04 [0 s0] thinking: And more']);
    const [line = ''] = transcript.push(chunk('word '.repeat(200)));
    expect(line).toContain('word word');
    expect(transcript.flush()).toEqual([]);
  });

  test('what was said is printed before the next thing', () => {
    const transcript = new Transcript(options);
    transcript.push(chunk('I look'));
    expect(transcript.push(update(0, { sessionUpdate: 'tool_call', title: 'read src/a.js' }))).toEqual([
      '12:03:04 [0 s0] thinking: I look',
      '12:03:04 [0 s0] tool: read src/a.js',
    ]);
  });
});

test('what an attempt waits for is told in the outline, too', () => {
  const waiting: Event = {
    id: 1,
    type: 'agent_output',
    data: {
      timestamp: AT,
      variation_id: 0,
      kind: 'note',
      content: 'Waiting to start: 0/1 nodes are available: 1 Insufficient cpu.',
      message: { code: 'waiting', reason: 'Unschedulable' },
    },
  };
  expect(new Transcript(options).push(waiting)).toEqual([
    '12:03:04 [0 s0] waiting: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.',
  ]);
});

test('a whole run, in outline', () => {
  const transcript = new Transcript(options);
  const lines = [...sampleEvents().flatMap((event) => transcript.push(event)), ...transcript.flush()].map((line) =>
    line.slice(9),
  );
  expect(`\n${lines.join('\n')}\n`).toMatchInlineSnapshot(`
    "
    [run] run queued
    [0 s0] starting
    [run] run running
    [1 s1] starting
    [0 s0] running
    [0 s0] thinking: Only the first part is read.
    [0 s0] thinking: I see.
    [0 s0] tool: bash: npm test
    [1 s1] error: invalid x-api-key
    [1 s1] failed (provider_auth): The provider refused the key.
    [0 s0] result: 1 file changed, +2 -1
    [0 s0] succeeded
    [run] run completed
    "
  `);
});

test('a whole run, in full and in colour', () => {
  const transcript = new Transcript({ ...options, full: true, palette: colours });
  const lines = [...sampleEvents().flatMap((event) => transcript.push(event)), ...transcript.flush()];
  const plain = lines.map((line) => line.replaceAll(new RegExp('\u001b\\[\\d+m', 'g'), '').slice(9));
  expect(plain).toContain('[0 s0] note: The workspace is ready.');
  expect(plain).toContain('[0 s0] | ok 2');
  expect(lines.join('')).toContain('\u001b[31mfailed (provider_auth): The provider refused the key.\u001b[39m');
});

test("a tool's long output is cut, and says so", () => {
  const transcript = new Transcript({ ...options, full: true });
  const text = Array.from({ length: 100 }, (_, at) => `  line ${at}`).join('\n');
  const lines = transcript.push(
    update(0, {
      sessionUpdate: 'tool_call_update',
      status: 'completed',
      content: [{ type: 'content', content: { type: 'text', text } }],
    }),
  );
  expect(lines).toHaveLength(41);
  expect(lines[0]).toBe('12:03:04 [0 s0] |   line 0');
  expect(lines.at(-1)).toBe('12:03:04 [0 s0] | (60 more lines)');
});

describe('words', () => {
  const words = (fields: Record<string, unknown>): string | undefined => wordsOf(update(0, fields))?.text;

  test('tools: title, command, diff, failure', () => {
    expect(words({ sessionUpdate: 'tool_call', title: 'bash', rawInput: { command: 'npm test' } })).toBe(
      'bash: npm test',
    );
    expect(words({ sessionUpdate: 'tool_call', title: '`npm test`', rawInput: { command: 'npm test' } })).toBe(
      '`npm test`',
    );
    expect(words({ sessionUpdate: 'tool_call', name: 'read' })).toBe('read');
    expect(
      words({
        sessionUpdate: 'tool_call_update',
        status: 'completed',
        content: [{ type: 'diff', path: 'a.js', newText: '' }],
      }),
    ).toBe('changed a.js');
    expect(words({ sessionUpdate: 'tool_call_update', status: 'completed', rawOutput: { output: 'done' } })).toBe(
      'done',
    );
    expect(words({ sessionUpdate: 'tool_call_update', status: 'in_progress' })).toBeUndefined();
    expect(words({ sessionUpdate: 'tool_call_update', status: 'failed', title: 'edit' })).toBe('failed: edit');
    expect(words({ sessionUpdate: 'tool_call_update', status: 'failed', rawOutput: 'no such file' })).toBe(
      'failed: no such file',
    );
  });

  test('plans', () => {
    expect(
      words({
        sessionUpdate: 'plan',
        entries: [{ content: 'read', status: 'completed' }, { content: 'write', status: 'pending' }, 7],
      }),
    ).toBe('[x] read\n[ ] write\n[ ] ');
    expect(words({ sessionUpdate: 'plan', entries: 7 })).toBe('');
  });

  test('a message that is not as expected says nothing, and breaks nothing', () => {
    for (const message of [null, 7, 'x', [], {}, { params: null }, { params: { update: [] } }]) {
      for (const kind of [
        'agent_thought_chunk',
        'tool_call_update',
        'stderr',
        'unparsed',
        'acp',
        'acp_sent',
        'current_mode_update',
        undefined,
      ]) {
        expect(wordsOf({ id: 1, type: 'agent_output', data: { kind, message, content: null } })).toBeNull();
      }
    }
    expect(wordsOf({ id: 1, type: 'model_usage', data: {} })).toBeNull();
    expect(wordsOf({ id: 1, type: 'agent_error', data: {} })?.text).toBe('an error without words');
    expect(wordsOf({ id: 1, type: 'agent_output', data: { kind: 'result', message: 7 } })?.text).toBe('taken');
  });

  test("the run's own", () => {
    expect(wordsOf({ id: 1, type: 'run_choice', data: { winning_variation_id: 0, reason: 'small' } })).toMatchObject({
      variation: null,
      text: 'variation 0 was chosen: small',
    });
    expect(wordsOf({ id: 1, type: 'variation_status', data: { variation_id: 0, status: 'failed' } })).toBeNull();
    for (const kind of ['stderr', 'unparsed'])
      expect(wordsOf({ id: 1, type: 'agent_output', data: { kind, content: 'x' } })).toMatchObject({
        kind,
        detail: true,
      });
    const notice = wordsOf({ id: 1, type: 'agent_output', data: { kind: 'notice', content: 'trying again' } });
    expect(notice).toMatchObject({ kind: 'note', text: 'trying again', detail: false });
  });
});
