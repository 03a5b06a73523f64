import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tempDir } from '../../../test/support/temp.ts';
import { agentEntry, homePath, type AgentInput } from '../../contract/agent-entry.ts';
import { knownAgents } from '../catalog.ts';
import { findAgent, findProgram } from './find-agent.ts';

const entryOf = (entry: AgentInput) => ({ name: 'mine', ...agentEntry.parse(entry) });

test('a program on PATH is found where it lies, with the packages that it is one of', () => {
  const prefix = tempDir();
  const main = join(prefix, 'lib', 'node_modules', '@me', 'agent', 'main.js');
  mkdirSync(join(main, '..'), { recursive: true });
  writeFileSync(main, '#!/usr/bin/env node\n', { mode: 0o755 });
  mkdirSync(join(prefix, 'bin'));
  symlinkSync(main, join(prefix, 'bin', 'my-agent'));
  const npm = { package: 'my-agent', version: '1.0.0', command: ['{install}/x'] };
  const places = { folder: tempDir(), platform: 'linux-x64', path: `relative:/nowhere:${join(prefix, 'bin')}` };
  const entry = entryOf({ command: ['my-agent', '--acp'], env: { A: '1' }, read_paths: ['/opt/more'], npm });
  expect(findAgent(entry, places)).toEqual({
    kind: 'found',
    from: 'path',
    version: null,
    command: [join(prefix, 'bin', 'my-agent'), '--acp'],
    env: { A: '1' },
    readPaths: ['/opt/more', join(prefix, 'bin'), join(prefix, 'lib', 'node_modules')],
  });
  expect(findAgent(entry, { ...places, path: '' })).toMatchObject({ kind: 'missing', versions: [] });
  expect(findProgram('sh', '/usr/bin:/bin')).toMatch(/^\/(usr\/)?bin\/sh$/);
});

test('a program that lies in the home itself is shown alone, and not the home with its keys', () => {
  const home = tempDir();
  const real = join(home, 'agent-1.2');
  writeFileSync(real, '', { mode: 0o755 });
  mkdirSync(join(home, 'bin'));
  symlinkSync(real, join(home, 'bin', 'linked'));
  const linkedHome = join(tempDir(), 'me');
  symlinkSync(home, linkedHome);
  const npm = { package: 'x', version: '1.0.0', command: ['{install}/x'] };
  const pathsOf = (program: string, path: string, itsHome: string): unknown => {
    const found = findAgent(entryOf({ command: [program], npm }), {
      ...{ folder: tempDir(), platform: 'linux-x64' },
      ...{ path, home: itsHome },
    });
    return found.kind === 'found' ? found.readPaths : found;
  };
  expect(pathsOf('agent-1.2', home, home)).toEqual([real]);
  expect(pathsOf('linked', join(home, 'bin'), home)).toEqual([join(home, 'bin'), real]);
  expect(pathsOf('linked', join(linkedHome, 'bin'), linkedHome)).toEqual([join(linkedHome, 'bin'), real]);
  // A folder around it is no better.
  expect(pathsOf('agent-1.2', home, join(home, 'me'))).toEqual([real]);
});

test('an entry without a package is started as it is written, and what it names is to be seen', () => {
  const script = join(tempDir(), 'agent.ts');
  writeFileSync(script, '');
  const places = { folder: tempDir(), platform: 'linux-x64', path: '/bin' };
  expect(findAgent(entryOf({ command: ['{node}', script, '/usr/bin/env', '/no/such/file'] }), places)).toMatchObject({
    kind: 'found',
    from: 'entry',
    command: ['{node}', script, '/usr/bin/env', '/no/such/file'],
    readPaths: [script],
  });
});

test('a platform that an agent is not made for is named', () => {
  const places = { folder: tempDir(), platform: 'linux-riscv64', path: '/bin' };
  expect(findAgent(entryOf({ command: ['x'], platforms: ['linux-x64', 'darwin-arm64'] }), places)).toEqual({
    kind: 'unsupported',
    message: 'mine does not run on linux-riscv64: it is made for linux-x64, darwin-arm64.',
    versions: [],
  });
});

test('settings files stay within HOME', () => {
  for (const good of ['.a', '.config/x/y.json', 'a..b', '...'])
    expect([good, homePath.safeParse(good).success]).toEqual([good, true]);
  for (const bad of ['', '/etc/passwd', '../x', 'a/../../x', 'a//b', './a', 'a/', 'a\\b', 'a\0', 'x'.repeat(300)])
    expect([bad, homePath.safeParse(bad).success]).toEqual([bad, false]);
  const clash = agentEntry.safeParse({ command: ['x'], files: { '.a': '1', '.a/b': '2' } });
  expect(clash.error?.issues[0]?.message).toBe('names a file that is also a folder');
});

test('every known agent can be had in one exact version, says its licence, and holds no key', () => {
  for (const agent of knownAgents) {
    expect([agent.name, agent.licence]).toEqual([agent.name, expect.any(String)]);
    expect([agent.name, agent.dialects?.length]).not.toEqual([agent.name, undefined]);
    if (agent.name !== 'builtin') expect(agent.npm?.version).toMatch(/^\d+\.\d+\.\d+$/);
    for (const [name, value] of Object.entries(agent.env))
      if (name.endsWith('_KEY')) expect([name, value]).toEqual([name, 'none-needed']);
    for (const [path, text] of Object.entries(agent.files))
      if (path.endsWith('.json')) expect(() => void JSON.parse(text)).not.toThrow();
  }
});
