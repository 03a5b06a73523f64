import { describe, expect, test } from 'vitest';
import { findAllowed, parseAllowedHost, parseTarget, type AllowedHost } from './allowed-host.ts';

const list = (...entries: string[]): AllowedHost[] =>
  entries.map((entry) => {
    const parsed = parseAllowedHost(entry);
    if (typeof parsed === 'string') throw new Error(parsed);
    return parsed;
  });
const allows = (entries: AllowedHost[], authority: string): boolean => {
  const target = parseTarget(authority);
  return target !== null && findAllowed(entries, target) !== undefined;
};

describe('an entry', () => {
  test.each([
    ['registry.example.org', { host: 'registry.example.org', isWildcard: false, port: 443, allowsPrivate: false }],
    [' Registry.Example.ORG.:8443 ', { host: 'registry.example.org', port: 8443 }],
    ['*.example.org', { host: 'example.org', isWildcard: true, port: 443 }],
    ['*.example.org:444', { host: 'example.org', isWildcard: true, port: 444 }],
    ['npm.corp.example:4873 private', { host: 'npm.corp.example', port: 4873, allowsPrivate: true }],
    ['bücher.example', { host: 'xn--bcher-kva.example' }],
    ['10.0.0.7:80', { host: '10.0.0.7', port: 80 }],
    ['[FD00::0:1]:80', { host: 'fd00::1', port: 80 }],
  ])('%s', (entry, expected) => expect(parseAllowedHost(entry)).toMatchObject(expected));

  test.each([
    ['', /write `host`/],
    ['https://registry.example.org', /neither a scheme nor a path/],
    ['registry.example.org/npm', /neither a scheme nor a path/],
    ['registry.example.org:0', /1 to 65535/],
    ['registry.example.org:99999', /1 to 65535/],
    ['registry.example.org:', /1 to 65535/],
    ['*', /first part/],
    ['*.*.example.org', /first part/],
    ['npm*.example.org', /first part/],
    ['a.example b.example', /only `private`/],
    ['10.0.0.7 private', /as it stands/],
    ['*.10.0.0.7', /as it stands|no host/],
    ['localhost:4873', /its own/],
    ['user@example.org', /no host/],
    ['a..example', /no host/],
    ['fe80::1', /no host/],
  ])('%s is none', (entry, why) => expect(parseAllowedHost(entry)).toMatch(why));
});

describe('a target', () => {
  const entries = list(
    'registry.example.org',
    '*.cdn.example.org',
    'bücher.example',
    '127.0.0.1:9',
    '[::1]:9',
    'a.example:8',
  );

  test.each([
    'registry.example.org:443',
    'REGISTRY.example.org:443',
    'registry.example.org.:443',
    'a.cdn.example.org:443',
    'a.b.cdn.example.org:443',
    'xn--bcher-kva.example:443',
    '127.0.0.1:9',
    // The same address, and so as good.
    '0x7f.1:9',
    '2130706433:9',
    '[0:0::1]:9',
    'a.example:8',
  ])('%s is allowed', (authority) => expect(allows(entries, authority)).toBe(true));

  test.each([
    // Another port, another name, a name that has an allowed one in it.
    'registry.example.org:80',
    'registry.example.org:4430',
    'example.org:443',
    'xregistry.example.org:443',
    'registry.example.org.evil.example:443',
    'cdn.example.org:443',
    'xcdn.example.org:443',
    '.cdn.example.org:443',
    'a.example:443',
    // No port, two, or none that is one.
    'registry.example.org',
    'registry.example.org:',
    'registry.example.org:443:443',
    'registry.example.org:+443',
    'registry.example.org:0x1bb',
    'registry.example.org:443/',
    // Userinfo, paths, escapes, other brackets.
    'registry.example.org@evil.example:443',
    'evil.example:443@registry.example.org:443',
    'evil.example#registry.example.org:443',
    'evil.example/registry.example.org:443',
    'evil.example\\registry.example.org:443',
    'registry%2eexample.org:443',
    'registry.example.org%00.evil.example:443',
    '[registry.example.org]:443',
    'http://registry.example.org:443',
    // Letters that look alike or fold to ASCII: HTTP's targets have none.
    'b\u00fccher.example:443',
    'registry\u3002example.org:443',
    'registry.example.org\u00ad:443',
    // Addresses that are not the one, in all spellings.
    '127.0.0.2:9',
    '0x7f.2:9',
    '0177.0.0.02:9',
    '2130706434:9',
    '127.1:443',
    '[::ffff:127.0.0.1]:9',
    '[::127.0.0.1]:9',
    '[::1%25lo]:9',
    '[::2]:9',
    '::1:9',
    'localhost:9',
    '',
    ':443',
    '*.cdn.example.org:443',
  ])('%s is not', (authority) => expect(allows(entries, authority)).toBe(false));

  test('a wildcard never stands for an address', () => {
    expect(allows(list('*.example.org'), '1.2.3.4:443')).toBe(false);
    expect(parseAllowedHost('*.0.0.1')).toEqual(expect.any(String));
  });

  test('of two entries for a host the one that allows more counts', () => {
    const entries = list('*.corp.example', 'npm.corp.example private');
    expect(findAllowed(entries, { host: 'npm.corp.example', port: 443 })?.allowsPrivate).toBe(true);
    expect(findAllowed(entries, { host: 'other.corp.example', port: 443 })?.allowsPrivate).toBe(false);
  });
});
