import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempDir } from '../../../test/support/temp.ts';
import { createPermissionAnswers } from './answers.ts';
import { namedPaths } from './named-paths.ts';
import { decide, outsideOf, type Ground } from './policy.ts';
import { readLinkHere, realPathOf } from './real-path.ts';

const ground: Ground = { workspace: '/w/repo', home: '/h/agent', tmp: '/t' };
const none = () => null;
const yes = { optionId: 'yes', name: 'Yes', kind: 'allow_once' };
const always = { optionId: 'always', name: 'Always', kind: 'allow_always' };
const no = { optionId: 'no', name: 'No', kind: 'reject_once' };
const never = { optionId: 'never', name: 'Never', kind: 'reject_always' };
const about = (toolCall: object, options: unknown = [never, no, always, yes]) => ({
  sessionId: 's',
  toolCall,
  options,
});

describe('a path', () => {
  it.each([
    ['new.txt', true],
    ['./a/../b', true],
    ['/w/repo', true],
    ['/w/repo/.git/hooks/x', true],
    ['/t/scratch', true],
    ['~', true],
    ['~/.config/x', true],
    ['file:///w/repo/a%20b', true],
    ['FILE:///etc/passwd', false],
    ['file://elsewhere/w/repo/a', false],
    ['/w/repository', false],
    ['/w/repo/../other', false],
    ['../repo/ok', true],
    ['../../etc/passwd', false],
    ['/W/REPO/x', false],
    ['~root/x', false],
    ['/', false],
    ['/w/repo/a\0b', false],
    ['//etc/passwd', false],
    ['//w//repo//x', true],
  ])('%j is inside: %s', (path, isInside) => {
    expect(outsideOf([path], ground, none)).toEqual(isInside ? [] : [path]);
  });

  it('is followed as the kernel would: through links, behind which `..` leaves their target', () => {
    const links: Record<string, string> = {
      '/w/repo/out': '/etc',
      '/w/repo/deep': '../../h/agent/dir',
      '/w/repo/loop': 'loop',
      '/w/repo/back': '/w/repo/src',
      '/real': '/w',
    };
    const readLink = (path: string) => links[path] ?? null;
    expect(
      outsideOf(
        ['out/passwd', 'out/../w/repo/x', 'deep/../ok', 'deep/../../x', 'loop', 'back/../x', '/real/repo/x'],
        ground,
        readLink,
      ),
    ).toEqual(['out/passwd', 'deep/../../x', 'loop']);
    const denied = () => {
      throw new Error('EACCES');
    };
    expect(realPathOf('/w/repo/x', denied)).toBeNull();
    expect(outsideOf(['x'], ground, denied)).toEqual(['x']);
  });

  it('is looked at on the disk', () => {
    const root = tempDir();
    const real = { workspace: join(root, 'ws'), home: join(root, 'home'), tmp: join(root, 'tmp') };
    mkdirSync(real.workspace);
    symlinkSync(root, join(real.workspace, 'up'));
    symlinkSync('nowhere/at/all', join(real.workspace, 'dangling'));
    writeFileSync(join(real.workspace, 'file'), '');
    expect(
      outsideOf(['up/x', 'up/ws/file', 'dangling', 'file', 'file/below', join(root, 'x')], real, readLinkHere),
    ).toEqual(['up/x', join(root, 'x')]);
  });
});

describe('the paths that a call names', () => {
  it('are found in locations, diffs and raw inputs of all kinds of agents', () => {
    const call = {
      locations: [{ path: '/a', line: 3 }, { path: 7 }, null],
      content: [
        { type: 'diff', path: '/b', oldText: null, newText: '/no' },
        { type: 'content', content: { type: 'text', text: '/no' } },
      ],
      rawInput: {
        filePath: 'c',
        NOTEBOOK_PATH: 'd',
        'working-directory': 'e',
        edits: [{ file: 'f', old_string: '/no', new_string: '/no' }],
        changes: { '/g': { add: { content: '/no' } } },
        target: '/h',
        command: ['cat', '/no'],
        description: '/no',
        note: 'no path',
      },
    };
    expect(namedPaths(call)).toEqual({ paths: ['/a', '/b', 'c', 'd', 'e', 'f', '/g', '/h'], tooMany: false });
  });

  it('of any shape harm nobody, and are bounded', () => {
    for (const call of [undefined, null, 7, 'x', [], { locations: 7, content: {}, rawInput: null }])
      expect(namedPaths(call)).toEqual({ paths: [], tooMany: false });
    const many = { rawInput: { paths: Array.from({ length: 1000 }, (_, n) => `${n}`) } };
    expect(namedPaths(many)).toMatchObject({ tooMany: true });
    let deep: object = { path: '/x' };
    for (let n = 0; n < 100; n += 1) deep = { deep };
    expect(namedPaths({ rawInput: deep })).toEqual({ paths: [], tooMany: true });
    expect(decide(about(many), ground, none)).toMatchObject({ outcome: 'rejected', optionId: 'no' });
  });
});

describe('a request', () => {
  it('is allowed once where all is inside, so that the next is asked about again', () => {
    expect(decide(about({ locations: [{ path: 'x' }] }), ground, none)).toMatchObject({
      outcome: 'allowed',
      optionId: 'yes',
    });
    expect(decide(about({}, [no, always]), ground, none)).toMatchObject({ outcome: 'allowed', optionId: 'always' });
  });

  it('is rejected where one path is outside, whatever the others are, and says which', () => {
    const call = { locations: [{ path: 'x' }, { path: '/etc/shadow' }] };
    expect(decide(about(call), ground, none)).toEqual({
      outcome: 'rejected',
      optionId: 'no',
      why: 'It names /etc/shadow: outside of the attempt’s workspace, HOME and TMPDIR.',
      outside: ['/etc/shadow'],
    });
    expect(decide(about(call, [yes, never]), ground, none)).toMatchObject({ outcome: 'rejected', optionId: 'never' });
    expect(decide(about(call, [yes]), ground, none)).toMatchObject({ outcome: 'cancelled', optionId: null });
  });

  it('that offers nothing of use is told so', () => {
    expect(decide(about({}, [no]), ground, none)).toMatchObject({
      outcome: 'rejected',
      why: 'It offers no option that allows it.',
    });
    for (const options of [[], 'x', [{ kind: 'allow_once' }, null], undefined])
      expect(decide({ options }, ground, none)).toMatchObject({ outcome: 'cancelled', optionId: null });
  });

  it('is about what was announced of the same call before', () => {
    const notes: string[] = [];
    const answers = createPermissionAnswers({ note: (_code, message) => void notes.push(message) }, ground);
    const tell = (update: object) => answers.heard({ sessionId: 's', update });
    tell({ sessionUpdate: 'tool_call', toolCallId: 'a', rawInput: { path: '/etc/passwd' } });
    tell({ sessionUpdate: 'tool_call_update', toolCallId: 'a', locations: [{ path: '/w/repo/x' }] });
    tell({ sessionUpdate: 'tool_call', toolCallId: 'b', locations: [{ path: 'x' }] });
    answers.heard(null);
    expect(answers.answer(about({ toolCallId: 'a' }))).toEqual({ outcome: { outcome: 'selected', optionId: 'no' } });
    expect(answers.answer(about({ toolCallId: 'b' }))).toEqual({ outcome: { outcome: 'selected', optionId: 'yes' } });
    expect(notes[0]).toContain('/etc/passwd');
  });
});
