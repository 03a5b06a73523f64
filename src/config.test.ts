import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempDir } from '../test/support/temp.ts';
import { loadConfig } from './config.ts';
import { AppError } from './errors.ts';

function load(sources: { env?: Record<string, string>; flags?: Record<string, unknown>; file?: string } = {}) {
  const home = tempDir();
  const file = sources.file === undefined ? undefined : join(home, 'config.yaml');
  if (file !== undefined) writeFileSync(file, sources.file ?? '');
  return loadConfig({ env: { HOME: home, ...sources.env }, cwd: home, flags: sources.flags ?? {}, file });
}

function refusal(run: () => unknown): AppError {
  try {
    run();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('loadConfig', () => {
  it('lays defaults < file < environment < flags over each other and says where each value is from', () => {
    const file = 'port: 1\nhost: 127.0.0.2\nlog_level: warn\n';
    const { config, origins } = load({
      file,
      env: { AIDEATOR_PORT: '2', AIDEATOR_LOG_LEVEL: 'error' },
      flags: { port: 3, url: undefined },
    });
    expect([config.host, config.port, config.log_level, config.max_parallel]).toEqual(['127.0.0.2', 3, 'error', 8]);
    expect(origins['host']).toMatch(/^file .*config\.yaml$/);
    expect([origins['port'], origins['log_level'], origins['max_parallel']]).toEqual([
      'flag',
      'environment AIDEATOR_LOG_LEVEL',
      'default',
    ]);
  });

  it('what a file says nothing of, within what it does name, is a default', () => {
    const { origins } = load({
      file: 'providers: { own: { kind: openai } }\nsandbox: { limits: { max_processes: 99 } }\n',
    });
    expect(origins).toMatchObject({
      'providers.anthropic': 'default',
      'sandbox.mode': 'default',
      'sandbox.limits.max_tmp_bytes': 'default',
      sandbox: expect.stringMatching(/^file /) as string,
    });
    expect(Object.keys(origins)).not.toContain('providers.own.kind');
    expect(Object.keys(origins)).not.toContain('sandbox.limits.max_processes');
  });

  it('refuses an unknown environment name and suggests the near one', () => {
    const error = refusal(() => load({ env: { AIDEATOR_PROT: '1' } }));
    expect(error.code).toBe('invalid_config');
    expect(error.message).toContain('AIDEATOR_PROT');
    expect(error.hint).toContain('AIDEATOR_PORT');
  });

  it('refuses an unknown name in the file, at the top and below, and says where', () => {
    expect(refusal(() => load({ file: 'prot: 1\n' })).message).toMatch(/prot is not a setting .*Did you mean port\?/);
    expect(refusal(() => load({ file: 'limits: { timeout: 3 }\n' })).message).toContain(
      'limits.timeout is not a setting',
    );
  });

  it('names setting, reason and origin of a wrong value', () => {
    expect(refusal(() => load({ env: { AIDEATOR_PORT: 'eighty' } })).message).toMatch(
      /^port: .*environment AIDEATOR_PORT/,
    );
    expect(refusal(() => load({ env: { AIDEATOR_LIMITS_TIMEOUT_SECONDS: 'x' } })).message).toContain(
      'limits.timeout_seconds',
    );
    expect(refusal(() => load({ file: ': : :\n  - [' })).message).toContain('is not YAML');
    expect(refusal(() => load({ file: '- a\n' })).message).toContain('must hold settings');
    expect(
      refusal(() => loadConfig({ env: { HOME: '/', AIDEATOR_CONFIG: '/nowhere/x.yaml' }, cwd: '/' })).message,
    ).toContain('/nowhere/x.yaml');
  });

  it('takes hosts that agents may reach, and says what is wrong with one that is none', () => {
    expect(
      load({ file: "sandbox: { allow_hosts: ['*.example.org', a.example:8443 private] }\n" }).config.sandbox,
    ).toMatchObject({
      allow_hosts: ['*.example.org', 'a.example:8443 private'],
    });
    expect(refusal(() => load({ file: 'sandbox: { allow_hosts: [https://a.example/] }\n' })).message).toMatch(
      /sandbox\.allow_hosts\.0: "https:\/\/a\.example\/": write the host alone/,
    );
    expect(refusal(() => load({ file: 'sandbox: { allowHosts: [] }\n' })).message).toContain('sandbox.allowHosts');
  });

  it('reads limits from the environment, beside those of the file', () => {
    const { config } = load({
      file: 'limits: { max_steps: 7 }\nkubernetes: { image: a, grace_seconds: 9 }\n',
      env: { AIDEATOR_LIMITS_TIMEOUT_SECONDS: '9', AIDEATOR_KUBERNETES_IMAGE: 'b' },
    });
    expect(config.kubernetes).toMatchObject({ image: 'b', grace_seconds: 9 });
    expect(config.limits).toEqual({ max_steps: 7, timeout_seconds: 9 });
  });

  it('finds provider keys in the environment and in files, and says where each is from', () => {
    const home = tempDir();
    mkdirSync(join(home, 'secrets'));
    writeFileSync(join(home, 'secrets', 'k'), 'from-file\n');
    const file = join(home, 'c.yaml');
    writeFileSync(
      file,
      'providers:\n  local: { kind: openai, base_url: "http://127.0.0.1:1/v1", key_file: secrets/k }\n  anthropic: { kind: anthropic, key_env: MY_KEY }\n  open: { kind: openai, base_url: "http://127.0.0.1:1/v1" }\n',
    );
    const { config } = loadConfig({ env: { HOME: home, MY_KEY: 'k1' }, cwd: home, file });
    expect(config.keys['local']).toEqual({
      key: 'from-file',
      from: `file ${join(home, 'secrets', 'k')}`,
      file: join(home, 'secrets', 'k'),
    });
    expect(config.keys['anthropic']).toEqual({ key: 'k1', from: 'environment MY_KEY' });
    expect(config.keys['openai']).toEqual({ key: null, from: 'environment OPENAI_API_KEY' });
    expect(config.keys['open']).toEqual({ key: null, from: null });
    expect(config.providers['anthropic']?.base_url).toBe('https://api.anthropic.com');
    writeFileSync(file, 'providers:\n  local: { kind: openai, key_file: nothing }\n');
    expect(refusal(() => loadConfig({ env: { HOME: home }, cwd: home, file })).message).toContain(
      'providers.local.key_file',
    );
  });

  it('puts the data directory under the user’s own data home', () => {
    expect(loadConfig({ env: { HOME: '/home/x' }, cwd: '/' }).config.data_dir).toBe('/home/x/.local/share/aideator');
    expect(loadConfig({ env: { HOME: '/home/x', XDG_DATA_HOME: '/data' }, cwd: '/' }).config.data_dir).toBe(
      '/data/aideator',
    );
    expect(loadConfig({ env: { HOME: '/home/x' }, cwd: '/w', flags: { data_dir: 'd' } }).config.data_dir).toBe('/w/d');
  });
});
