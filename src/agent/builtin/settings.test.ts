import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../../test/support/temp.ts';
import { instructionsFor } from './instructions.ts';
import { openModel, thinkingFor } from './model.ts';
import { readSettings } from './settings.ts';

const env = { AIDEATOR_BASE_URL: 'http://127.0.0.1:1/', AIDEATOR_MODEL: 'm', AIDEATOR_DIALECT: 'openai' };

test('settings come from the environment; what is missing or wrong is named', () => {
  expect(readSettings(env)).toMatchObject({
    baseUrl: 'http://127.0.0.1:1',
    model: 'm',
    dialect: 'openai',
    maxSteps: 100,
    contextTokens: 150_000,
    thinking: true,
  });
  expect(
    readSettings({ ...env, AIDEATOR_MAX_STEPS: '3', AIDEATOR_THINKING: 'off', AIDEATOR_CONTEXT_TOKENS: '5000' }),
  ).toMatchObject({ maxSteps: 3, thinking: false, contextTokens: 5000 });
  expect(() => readSettings({ AIDEATOR_BASE_URL: 'ftp://x', AIDEATOR_DIALECT: 'latin' })).toThrow(
    /AIDEATOR_BASE_URL: .*AIDEATOR_MODEL: .*AIDEATOR_DIALECT: /,
  );
});

test.each([
  ['claude-3-opus-20240229', null],
  ['claude-3-5-sonnet-20241022', null],
  ['claude-2.1', null],
  ['claude-3-7-sonnet-20250219', { type: 'enabled', budgetTokens: 8000 }],
  ['claude-sonnet-4-20250514', { type: 'enabled', budgetTokens: 8000 }],
  ['claude-sonnet-4-5-20250929', { type: 'enabled', budgetTokens: 8000 }],
  ['some-other', { type: 'enabled', budgetTokens: 8000 }],
  ['claude-opus-4-6', { type: 'adaptive' }],
  ['anthropic/claude-opus-4-7', { type: 'adaptive', display: 'summarized' }],
  ['claude-opus-5', { type: 'adaptive', display: 'summarized' }],
  ['claude-fable-5', { type: 'adaptive', display: 'summarized' }],
  ['claude-haiku-5-5', { type: 'adaptive', display: 'summarized' }],
  [
    'claude-sonnet-5-5',
    { type: 'adaptive', display: 'summarized', blockBinding: { prefixMismatchBehavior: 'drop_block' } },
  ],
  [
    'claude-fable-5-1',
    { type: 'adaptive', display: 'summarized', blockBinding: { prefixMismatchBehavior: 'drop_block' } },
  ],
])('%s thinks', (model, thinking) => {
  expect(thinkingFor(model)).toEqual(thinking);
});

test('thinking can be turned off; a model that the SDK does not know gets room to write', async () => {
  const settings = readSettings({ ...env, AIDEATOR_DIALECT: 'anthropic', AIDEATOR_THINKING: 'off' });
  expect(await openModel(settings)).toMatchObject({ options: { anthropic: {} }, maxOutputTokens: 16_000 });
  expect((await openModel({ ...settings, model: 'claude-sonnet-4-5' })).maxOutputTokens).toBeUndefined();
});

test('instructions of the project are bounded, with a mark', async () => {
  const cwd = tempDir();
  writeFileSync(join(cwd, 'AGENTS.md'), 'é'.repeat(40_000));
  const text = await instructionsFor(cwd);
  expect(Buffer.byteLength(text)).toBeLessThan(36_000);
  expect(text).toMatch(/é\n\[… 47232 bytes of this file are left out …\]$/);
});

test('all of them together are bounded too, and folders of that name are no instructions', async () => {
  const top = tempDir();
  mkdirSync(join(top, '.git'));
  let folder = top;
  for (let n = 0; n < 4; n += 1) {
    writeFileSync(join(folder, 'AGENTS.md'), `${n}`.repeat(30_000));
    folder = join(folder, 'd');
    mkdirSync(folder);
  }
  mkdirSync(join(folder, 'AGENTS.md'));
  const text = await instructionsFor(folder);
  expect(Buffer.byteLength(text)).toBeLessThan(70_000);
  expect(text).toContain('00000');
  expect(text).not.toContain('33333');
});
