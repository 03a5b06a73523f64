import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tempDir } from '../../../test/support/temp.ts';
import { loadScript, parseScript } from './script.ts';

const model = (turn: string): string => `models:\n  m:\n    turns:\n      - ${turn}\n`;

describe('loadScript', () => {
  test('reads a script from a file', () => {
    const path = join(tempDir(), 'demo.script.yaml');
    writeFileSync(
      path,
      'models:\n  careful:\n    price: { input: 3000000, output: 15000000 }\n    turns:\n      - text: Hello.\n      - first_of:\n          - when: tests\n            text: a\n          - text: b\n',
    );
    expect(loadScript(path)).toEqual({
      models: {
        careful: {
          price: { input: 3_000_000, output: 15_000_000 },
          conversations: [
            { when: undefined, turns: [[{ text: 'Hello.' }], [{ when: 'tests', text: 'a' }, { text: 'b' }]] },
          ],
        },
      },
    });
  });

  test('names a file that is not there', () => {
    expect(() => loadScript('/nowhere/x.yaml')).toThrow(
      expect.objectContaining({ code: 'invalid_config', message: expect.stringContaining('/nowhere/x.yaml') }),
    );
  });
});

test.each([
  ['models:\n  m: {turns: [\n', 'f.yaml:3:'],
  ['models: {}\n', 'f.yaml:1: models needs at least one model'],
  ['- a\n', 'f.yaml:1: the file'],
  ['models:\n  m:\n    turns: []\n', 'f.yaml:3: models.m.turns'],
  ['models:\n  m:\n    price: { input: 1, output: 2 }\n', 'f.yaml:3: models.m needs either `turns` or `conversations`'],
  [
    'models:\n  m:\n    turns: [{ text: a }]\n    conversations: [{ turns: [{ text: a }] }]\n',
    'f.yaml:3: models.m needs either',
  ],
  [model('text: a\n        texte: b'), 'f.yaml:5: models.m.turns[0].texte is not a word of scripts here'],
  [model('delay_ms: 3'), 'f.yaml:4: models.m.turns[0] says nothing'],
  [
    model('text: a\n        tools:\n          - { name: bash, input: [] }'),
    'f.yaml:6: models.m.turns[0].tools[0].input',
  ],
  [model('tools: [{ input: {} }]'), 'f.yaml:4: models.m.turns[0].tools[0].name needs either `name` and `input`'],
  [
    model('tools: [{ name: a, first_of: [{ name: b }] }]'),
    'f.yaml:4: models.m.turns[0].tools[0].name needs either `name` and `input`',
  ],
  [model('text: a\n        usage: few'), 'f.yaml:5: models.m.turns[0].usage must be `none`, or input and output'],
  [model('text: a\n        delay_ms: -1'), 'f.yaml:5: models.m.turns[0].delay_ms'],
  [model('text: a\n        error: { status: 200, after: 1 }'), 'f.yaml:5: models.m.turns[0].error.status'],
  [
    model('text: a\n        error: { status: 500 }'),
    'f.yaml:5: models.m.turns[0].error without `after` is the whole answer',
  ],
  [model('text: a\n        raw: {}'), 'f.yaml:5: models.m.turns[0].raw is the whole answer'],
  [model('thinking: a\n        repeat: 3'), 'f.yaml:5: models.m.turns[0].repeat needs `text`'],
  [
    model('text: a\n        cut_after: 1\n        stall_after: 2'),
    'f.yaml:6: models.m.turns[0].stall_after cannot stand beside',
  ],
  [model('error: { status: 529, times: 1 }'), 'f.yaml:4: models.m.turns[0].error.times needs an alternative'],
  [model('text: a\n        when: b'), 'f.yaml:5: models.m.turns[0].when needs an alternative'],
  [model('first_of: [{ text: a }]\n        text: b'), 'f.yaml:5: models.m.turns[0].text stands in the alternatives'],
  [model('first_of:\n          - delay_ms: 1'), 'f.yaml:5: models.m.turns[0].first_of[0] says nothing'],
])('a script that cannot be used is refused with its line: %j', (text, message) => {
  expect(() => parseScript(text, 'f.yaml')).toThrow(
    expect.objectContaining({ code: 'invalid_config', message: expect.stringContaining(message) }),
  );
});
