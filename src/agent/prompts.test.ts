import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { prepareAttempt } from '../../test/support/recorded.ts';
import { tempDir } from '../../test/support/temp.ts';
import { promptsIn, putPrompt } from './prompts.ts';

const never = new AbortController().signal;
const quick = { cancelMs: 300, terminateMs: 300, leaveMs: 300, diskMs: 200 };

describe('prompts in an attempt’s directory', () => {
  test('are found by their numbers, the smallest first, whatever else lies there', async () => {
    const directory = tempDir();
    const { next } = promptsIn(directory);
    expect(await next(0, never)).toBeNull();
    for (const no of [10, 9, 2]) expect(await putPrompt(directory, { no, text: `prompt ${no} „ü“ \u0000` })).toBe(true);
    expect(await putPrompt(directory, { no: 2, text: 'prompt 2 „ü“ \u0000' })).toBe(true);
    const folder = join(directory, 'prompts');
    writeFileSync(join(folder, '3.json'), '{"text": 7}');
    writeFileSync(join(folder, '4.json'), 'no JSON');
    writeFileSync(join(folder, '-1.json'), '{"text":"x"}');
    mkdirSync(join(folder, '5.json'));
    symlinkSync('/nowhere', join(folder, '6.json'));
    expect(await next(0, never)).toEqual({ no: 2, text: 'prompt 2 „ü“ \u0000' });
    // What was taken does not stay there; handed over again, it is not taken again.
    expect(existsSync(join(folder, '2.json'))).toBe(false);
    expect(await putPrompt(directory, { no: 2, text: 'prompt 2' })).toBe(true);
    expect((await next(2, never))?.no).toBe(9);
    expect(existsSync(join(folder, '2.json'))).toBe(false);
    expect((await next(9, never))?.no).toBe(10);
    expect(await next(10, never)).toBeNull();
    expect(await putPrompt(join(directory, 'gone'), { no: 1, text: 'x' })).toBe(false);
  });

  test('are taken whatever ended the turn, each with a note before it is sent', async () => {
    const attempt = prepareAttempt({ agent: ['steer'], prompt: 'write a.txt=one\nstop max_turn_requests' });
    await putPrompt(attempt.directory, { no: 4, text: 'stop refusal' });
    await putPrompt(attempt.directory, { no: 8, text: 'append a.txt=two' });
    const { eof, result, events } = await attempt.run({ graces: quick });
    expect([eof.reason, result?.additions]).toEqual(['end_turn', 2]);
    const order = events.flatMap(({ type, data }) => {
      if (type === 'note' && data.includes('prompt_taken')) return [`taken ${/"prompt_id":(\d+)/.exec(data)?.[1]}`];
      return type === 'acp_sent' && data.includes('session/prompt') ? ['sent'] : [];
    });
    expect(order).toEqual(['sent', 'taken 4', 'sent', 'taken 8', 'sent']);
  });

  test('wait for nobody where the turn failed, was cancelled, or the agent has gone', async () => {
    for (const [prompt, reason] of [
      ['stop cancelled', 'cancelled'],
      ['stop whatever', 'protocol_error'],
      ['exit 3', 'agent_exit'],
    ]) {
      const attempt = prepareAttempt({ agent: ['steer'], prompt: prompt ?? '' });
      await putPrompt(attempt.directory, { no: 1, text: 'write a.txt=never' });
      const { eof, result, notes } = await attempt.run({ graces: quick });
      expect([eof.reason, result?.files]).toEqual([reason, []]);
      expect(notes).not.toContain('prompt_taken');
    }
  });

  test('that cannot be done end the attempt as they end; what was done before is kept', async () => {
    const attempt = prepareAttempt({ agent: ['steer'], prompt: 'write a.txt=one' });
    await putPrompt(attempt.directory, { no: 1, text: 'append a.txt=two\nexit 9' });
    const { eof, result } = await attempt.run({ graces: quick });
    expect([eof.reason, eof.message, result?.additions]).toEqual([
      'agent_exit',
      expect.stringContaining('exit code 9') as string,
      2,
    ]);
  });

  test('are under the attempt’s own time', async () => {
    const attempt = prepareAttempt({ agent: ['steer'], prompt: 'write a.txt=one', limits: { timeout_seconds: 2 } });
    await putPrompt(attempt.directory, { no: 1, text: `gate ${join(tempDir(), 'never')}` });
    const { eof, notes } = await attempt.run({ graces: quick });
    expect([eof.reason, notes.includes('prompt_taken')]).toEqual(['timeout', true]);
    expect(readFileSync(join(attempt.directory, 'result.patch'), 'utf8')).toContain('+one');
  });
});
