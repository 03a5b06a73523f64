import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../test/support/temp.ts';
import { loadConfig } from '../config.ts';
import { dropLogin, loginPath, readLogin, saveLogin } from './login-file.ts';

const here = (): Record<string, string> => ({ HOME: tempDir() });
const A = 'https://a.example';
const B = 'https://b.example/aideator';

test('it is for its owner alone, also where it was not', () => {
  const env = here();
  expect(readLogin(env)).toBeUndefined();
  const path = saveLogin(env, { url: A, key: 'aid_a' });
  expect(path).toBe(join(env['HOME'] ?? '', '.config', 'aideator', 'login.yaml'));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
  writeFileSync(path, readFileSync(path), { mode: 0o644 });
  saveLogin(env, { url: B, key: 'aid_b' });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readLogin(env)).toEqual({ path, url: B, keys: { [A]: 'aid_a', [B]: 'aid_b' } });
});

test('one server is forgotten, the other stays; the last takes the file with it', () => {
  const env = here();
  saveLogin(env, { url: A, key: 'aid_a' });
  saveLogin(env, { url: `${B}/`, key: 'aid_b' });
  expect(dropLogin(env)).toBe(B);
  expect(dropLogin(env)).toBeNull();
  expect(readLogin(env)).toMatchObject({ url: null, keys: { [A]: 'aid_a' } });
  expect(dropLogin(env, 'https://c.example')).toBeNull();
  expect(dropLogin(env, `${A}/`)).toBe(A);
  expect(existsSync(loginPath(env))).toBe(false);
  // A server that wants no key keeps none.
  saveLogin(env, { url: A, key: 'aid_a' });
  saveLogin(env, { url: A, key: null });
  expect(readLogin(env)).toMatchObject({ url: A, keys: {} });
});

test('a damaged one says what to do, and quotes no line of it', () => {
  const env = here();
  mkdirSync(dirname(loginPath(env)), { recursive: true });
  for (const text of ['keys: {a: "aid_sec', 'urll: aid_secret']) {
    writeFileSync(loginPath(env), text);
    expect(() => readLogin(env)).toThrow(expect.objectContaining({ code: 'invalid_config' }) as Error);
    expect(() => readLogin(env)).toThrow(/^(?!.*aid_sec)/s);
  }
});

test('precedence: login < file < environment < flag; a key goes only to the server it was given for', () => {
  const home = tempDir();
  const file = join(home, 'config.yaml');
  writeFileSync(file, `url: ${B}\n`);
  const env = { HOME: home };
  const login = { path: '/l', url: A, keys: { [A]: 'aid_a', [B]: 'aid_b' } };
  const read = (more: Parameters<typeof loadConfig>[0] = {}) => {
    const { config, origins } = loadConfig({ env, cwd: home, login, ...more });
    return [config.url, config.api_key, origins['url'], origins['api_key']];
  };
  expect(read()).toEqual([A, 'aid_a', 'login /l', 'login /l']);
  expect(read({ file })).toEqual([B, 'aid_b', `file ${file}`, 'login /l']);
  expect(read({ env: { ...env, AIDEATOR_API_KEY: 'mine' } })).toEqual([
    A,
    'mine',
    'login /l',
    'environment AIDEATOR_API_KEY',
  ]);
  expect(read({ env: { ...env, AIDEATOR_URL: 'https://evil.example' } })).toEqual([
    'https://evil.example',
    null,
    'environment AIDEATOR_URL',
    'default',
  ]);
  expect(read({ flags: { url: `${A}/` } })).toEqual([`${A}/`, 'aid_a', 'flag', 'login /l']);
  expect(read({ flags: { url: 'http://a.example' } })[1]).toBeNull();
  // --data-dir means the server of this machine.
  expect(read({ flags: { data_dir: home } })).toEqual([null, null, 'default', 'default']);
});
