import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { maskSecrets, mirrorName, parseAddress, withoutPassword } from './address.ts';

test.each([
  ['https://example.com/a/b.git'],
  ['ssh://git@example.com:22/a'],
  ['git@example.com:a/b.git'],
  ['file:///srv/a.git'],
  ['git://example.com/a'],
])('%s is a URL', (url) => {
  expect(parseAddress(url)).toEqual({ kind: 'url', url, shown: url });
});

test('a path is made absolute; a folder whose name has a colon in it is still a folder', () => {
  expect(parseAddress('some/where')).toEqual({ kind: 'path', path: join(process.cwd(), 'some/where') });
  const odd = join(tempDir(), 'host:path');
  mkdirSync(odd);
  expect(parseAddress(odd)).toEqual({ kind: 'path', path: odd });
});

test.each([
  ['', 'it is empty'],
  ['--upload-pack=touch /tmp/x', 'dash'],
  ['-x', 'dash'],
  ['ext::sh -c touch% /tmp/x', 'remote helpers'],
  ['fd::17', 'remote helpers'],
  ['https://example.com/a\nb', 'control characters'],
  ['a\0b', 'control characters'],
  ['ftp://example.com/a', 'scheme'],
  ['~/project', 'does not exist'],
])('%j is refused', (repository, why) => {
  expect(() => parseAddress(repository)).toThrow(
    expect.objectContaining({
      code: 'repository_not_found',
      message: expect.stringContaining(why),
      hint: expect.any(String),
    }),
  );
});

test('a dash where a host is expected never reaches ssh', () => {
  expect(parseAddress('git@-oProxyCommand=x:y').kind).toBe('path');
});

test('passwords are never shown', () => {
  expect(withoutPassword('https://me:p@ss@example.com/a')).toBe('https://me@example.com/a');
  expect(withoutPassword('https://ghp_0123456789abcdefghij@example.com/a')).toBe('https://example.com/a');
  expect(withoutPassword('https://:token@example.com/a')).toBe('https://example.com/a');
  expect(withoutPassword('https://example.com/a@b')).toBe('https://example.com/a@b');
  expect(maskSecrets("fatal: unable to access 'https://a:b@h/x/': gone, and http://c:d@i/")).toBe(
    "fatal: unable to access 'https://a@h/x/': gone, and http://c@i/",
  );
  expect(parseAddress('https://me:pw@example.com/a')).toMatchObject({
    url: 'https://me:pw@example.com/a',
    shown: 'https://me@example.com/a',
  });
});

test('a mirror is named readably and once per repository', () => {
  const name = mirrorName('https://example.com/team/project.git', 40);
  expect(name).toMatch(/^project-[0-9a-f]{16}$/);
  expect(mirrorName('HTTPS://Example.com/team/project.git/', 40)).toBe(name);
  expect(mirrorName('https://example.com/other/project.git', 40)).not.toBe(name);
  expect(mirrorName('https://example.com/team/project.git', 64)).not.toBe(name);
  expect(mirrorName('/home/me/project/.git', 40)).toMatch(/^project-/);
  expect(mirrorName('/srv/..../', 40)).toMatch(/^repository-/);
  expect(mirrorName('/srv/größe und/..', 40)).not.toMatch(/[^A-Za-z0-9._-]/);
});
