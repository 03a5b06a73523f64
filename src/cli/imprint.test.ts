import { expect, test } from 'vitest';
import { type Config, loadConfig } from '../config.ts';
import { changeSince, imprintOf } from './imprint.ts';

function configOf(env: Record<string, string> = {}, flags: Record<string, unknown> = {}): Config {
  return loadConfig({ env: { HOME: '/nonexistent', ...env }, cwd: '/', flags }).config;
}

const plain = configOf();

test('the same configuration is no change, wherever it listens and whatever else the environment has', () => {
  const made = imprintOf(plain, '1.0.0');
  expect(changeSince(made, configOf(), '1.0.0')).toBeNull();
  expect(changeSince(made, configOf({ PATH: '/opt' }, { port: 0, url: 'http://127.0.0.1:1' }), '1.0.0')).toBeNull();
});

test('a key that came or changed, a setting and a version are changes; a key that is only there is none', () => {
  const made = imprintOf(configOf({ OPENAI_API_KEY: 'sk-a' }), '1.0.0');
  expect(changeSince(made, plain, '1.0.0')).toBeNull();
  expect(changeSince(made, configOf({ OPENAI_API_KEY: 'sk-a' }), '1.0.0')).toBeNull();
  expect(changeSince(made, configOf({ OPENAI_API_KEY: 'sk-b' }), '1.0.0')).toBe('OPENAI_API_KEY was changed');
  expect(changeSince(made, configOf({ ANTHROPIC_API_KEY: 'sk-a' }), '1.0.0')).toBe('ANTHROPIC_API_KEY was set');
  expect(changeSince(made, configOf({}, { max_parallel: 3 }), '1.0.0')).toBe('the configuration was changed');
  expect(changeSince(made, plain, '1.0.1')).toBe('AIdeator was updated');
});

test('no key can be read from it, and the same key looks different each time', () => {
  const config = configOf({ OPENAI_API_KEY: 'sk-secret' });
  const [a, b] = [imprintOf(config, '1.0.0'), imprintOf(config, '1.0.0')];
  expect(JSON.stringify(a)).not.toContain('sk-secret');
  expect(a.keys['openai']).not.toBe(b.keys['openai']);
  expect(imprintOf(config, '1.0.0', a.salt)).toEqual(a);
});
