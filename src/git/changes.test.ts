import { describe, expect, test } from 'vitest';
import { looksLikeTest, parseChanges, pathFields } from './changes.ts';

describe('paths that look like tests', () => {
  test.each([
    'test/a.ts',
    'tests/a.py',
    'src/__tests__/a.js',
    'spec/models/user.rb',
    'src/test/java/A.java',
    'a.test.ts',
    'a.spec.tsx',
    'pkg/a_test.go',
    'test_a.py',
    'tests.py',
    'conftest.py',
    'app/ParserTest.java',
    'ParserTests.cs',
    'ViewSpec.scala',
    'e2e/login.ts',
    'a_spec.rb',
    'x/__snapshots__/a.snap',
  ])('%s', (path) => {
    expect(looksLikeTest(path)).toBe(true);
  });
  test.each([
    'src/contest.ts',
    'latest.py',
    'attest/a.ts',
    'src/testing.ts',
    'README.md',
    'protest.java',
    'src/inspect.rb',
    'Greatest.java',
    'manifest.json',
    'specification.md',
    'src/request_testers/a.c',
  ])('not %s', (path) => {
    expect(looksLikeTest(path)).toBe(false);
  });
});

test('a path is text where it is UTF-8, else quoted with its bytes beside it', () => {
  expect(pathFields(Buffer.from('größe "x"\n').toString('latin1'))).toEqual({ path: 'größe "x"\n' });
  expect(pathFields('\xff\\\t\x01')).toEqual({
    path: String.raw`"\377\\\t\001"`,
    path_base64: Buffer.from([255, 92, 9, 1]).toString('base64'),
  });
  expect(pathFields(Buffer.from('\ufeffx').toString('latin1'))).toEqual({ path: '\ufeffx' });
});

describe('a list of changes that is not what git prints is refused', () => {
  const zeros = '0'.repeat(40);
  test.each([
    ['cut', `:100644 100644 ${zeros} ${zeros} M\0a`],
    ['cut after a rename', `:100644 100644 ${zeros} ${zeros} R100\0a\0`],
    ['unknown status', `:100644 100644 ${zeros} ${zeros} U\0a\0`],
    ['lines of a file that is not listed', '1\t2\ta\0'],
  ])('%s', (_name, text) => {
    expect(() => parseChanges(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'git_failed' }));
  });
  test('nothing is nothing', () => expect(parseChanges(Buffer.alloc(0))).toEqual([]));
});
