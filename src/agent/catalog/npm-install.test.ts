import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startRegistry, type TestPackage } from '../../../test/support/npm-registry.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';
import { agentEntry, type AgentInput } from '../../contract/agent-entry.ts';
import { NO_SANDBOX, sandboxSpec } from '../../contract/sandbox.ts';
import { findBubblewrap } from '../sandbox/probe.ts';
import { noSandbox } from '../../../test/support/sandbox.ts';
import { findAgent } from './find-agent.ts';
import { explainNpm, installAgent, type InstallOptions } from './npm-install.ts';

/** npm is real; its registry is a server of the test's own. */

const tiny: TestPackage = {
  name: '@test/tiny-agent',
  version: '1.2.3',
  files: { 'agent.sh': '#!/bin/sh\necho tiny\n', 'evil.js': 'require("fs").writeFileSync("ran", "")\n' },
  more: { scripts: { postinstall: 'node evil.js' } },
};

function entryOf(npm: Partial<NonNullable<AgentInput['npm']>> = {}) {
  const { npm: wanted, ...entry } = agentEntry.parse({
    command: ['tiny-agent-of-nobody'],
    npm: {
      package: tiny.name,
      version: tiny.version,
      command: ['{install}/node_modules/@test/tiny-agent/agent.sh'],
      probe: ['{install}/node_modules/@test/tiny-agent/agent.sh'],
      ...npm,
    },
  });
  if (wanted === undefined) throw new Error('no package');
  return { name: 'tiny', ...entry, npm: wanted };
}

const placesIn = (folder: string) => ({
  folder,
  platform: `${process.platform}-${process.arch}`,
  path: '/usr/bin:/bin',
});

async function scene(packages: readonly TestPackage[] = [tiny]) {
  const registry = await startRegistry(packages);
  const folder = join(tempDir(), 'agents');
  const places = placesIn(folder);
  const install = (
    more: Partial<Pick<InstallOptions, 'sandbox' | 'signal'>> & {
      entry?: ReturnType<typeof entryOf>;
      env?: Record<string, string>;
    } = {},
  ) =>
    installAgent({
      entry: more.entry ?? entryOf(),
      places,
      env: { ...registry.env, ...more.env },
      node: process.execPath,
      sandbox: more.sandbox ?? NO_SANDBOX,
      signal: more.signal ?? new AbortController().signal,
    });
  return { ...registry, folder, places, install };
}

test('is found once all of it is there, under its version, and no script of it was run', async () => {
  const { install, places, folder } = await scene();
  expect(findAgent(entryOf(), places)).toMatchObject({ kind: 'missing', message: 'tiny is not installed.' });
  await install();
  const home = join(folder, 'tiny', '1.2.3');
  expect(findAgent(entryOf(), places)).toEqual({
    kind: 'found',
    from: 'installed',
    version: '1.2.3',
    command: [join(home, 'node_modules/@test/tiny-agent/agent.sh')],
    env: {},
    readPaths: [home],
  });
  expect(existsSync(join(home, 'node_modules/@test/tiny-agent/ran'))).toBe(false);
  expect(readdirSync(join(folder, 'tiny'))).toEqual(['1.2.3']);
});

test('two at once, and once more over what is there, leave one whole installation', async () => {
  const { install, folder } = await scene();
  await Promise.all([install(), install()]);
  writeFileSync(join(folder, 'tiny', '1.2.3', 'old'), '');
  await install();
  expect(readdirSync(join(folder, 'tiny'))).toEqual(['1.2.3']);
  expect(existsSync(join(folder, 'tiny', '1.2.3', 'old'))).toBe(false);
});

test('what was stopped halfway is not there, and what a dead one left is cleared away', async () => {
  const { install, places, folder, asked } = await scene();
  const stop = new AbortController();
  const installing = install({ signal: stop.signal });
  await until(() => asked().length > 0);
  stop.abort();
  await expect(installing).rejects.toMatchObject({ code: 'agent_install_failed' });
  expect(findAgent(entryOf(), places).kind).toBe('missing');
  expect(readdirSync(join(folder, 'tiny'))).toEqual([]);
  // A folder of the right name that does not say what it is: half of a copy, for one.
  mkdirSync(join(folder, 'tiny', '1.2.3', 'node_modules'), { recursive: true });
  expect(findAgent(entryOf(), places).kind).toBe('missing');
  mkdirSync(join(folder, 'tiny', '.part-4194300-1-0123abcd'));
  await install();
  expect(readdirSync(join(folder, 'tiny'))).toEqual(['1.2.3']);
  expect(findAgent(entryOf(), places).kind).toBe('found');
});

test('another version than the one that was asked for is refused', async () => {
  const { install, places } = await scene([{ ...tiny, version: '9.9.9', claims: '1.2.3' }]);
  await expect(install()).rejects.toMatchObject({
    code: 'agent_install_failed',
    message: 'npm installed @test/tiny-agent in version "9.9.9", not 1.2.3.',
  });
  expect(findAgent(entryOf(), places).kind).toBe('missing');
});

test('a binary that does not run here is refused, with what the system says', async () => {
  const { install } = await scene([{ ...tiny, files: { 'agent.sh': '#!/nowhere/interpreter\n' } }]);
  await expect(install()).rejects.toMatchObject({
    code: 'agent_install_failed',
    message: expect.stringMatching(/^tiny was installed but does not run on this machine \(\S+\): .*ENOENT/) as string,
  });
});

test('no npm, no registry, no such package: each says what to do', async () => {
  const { install, folder } = await scene();
  await expect(install({ env: { PATH: tempDir() } })).rejects.toMatchObject({ code: 'tool_missing' });
  await expect(install({ env: { npm_config_registry: 'http://127.0.0.1:9/' } })).rejects.toMatchObject({
    code: 'agent_install_failed',
    message: 'npm cannot reach its registry (ECONNREFUSED), so @test/tiny-agent@1.2.3 was not installed.',
    hint: expect.stringContaining('aideator agents install tiny') as string,
  });
  await expect(install({ entry: entryOf({ package: 'nobody-has-this' }) })).rejects.toMatchObject({
    message: "npm's registry has no nobody-has-this@1.2.3 (E404).",
  });
  await expect(install({ entry: entryOf({ version: '1.2.4' }) })).rejects.toMatchObject({
    message: "npm's registry has no @test/tiny-agent@1.2.4 (ETARGET).",
  });
  expect(readdirSync(join(folder, 'tiny'))).toEqual([]);
  expect(explainNpm('tiny', 'tiny@1.0.0', { code: 1, said: 'npm error code ENOSPC\n' })).toMatchObject({
    code: 'disk_full',
  });
  const other = explainNpm('tiny', 'tiny@1.0.0', { code: 7, said: 'npm error code EWHAT\nnpm error strange\n' });
  expect(other.message).toBe('npm ended with 7 and did not install tiny@1.0.0: npm error code EWHAT npm error strange');
});

test('an installation of another version, or for another platform, is named', async () => {
  const { install, places, folder } = await scene();
  await install();
  expect(findAgent(entryOf({ version: '2.0.0' }), places)).toEqual({
    kind: 'other_version',
    message: 'tiny is installed in version 1.2.3; 2.0.0 is needed.',
    versions: ['1.2.3'],
  });
  expect(findAgent(entryOf(), { ...places, platform: 'plan9-mips' })).toMatchObject({
    kind: 'unsupported',
    message: expect.stringContaining('was installed for') as string,
  });
  const facts = JSON.parse(readFileSync(join(folder, 'tiny', '1.2.3', 'installed.json'), 'utf8')) as unknown;
  expect(facts).toEqual({ package: tiny.name, version: '1.2.3', platform: places.platform });
});

test.skipIf(noSandbox !== null)(
  'what it brought is tried in the sandbox, where it sees nothing of the user; where none works it is not run',
  async () => {
    const agent = `#!/bin/sh
for file in ${process.cwd()}/package.json /proc/${process.pid}/environ; do cat $file >/dev/null 2>&1 && echo "reached $file"; done
touch "$(dirname "$0")/planted" 2>/dev/null && echo planted
touch $HOME/own || echo "no home"
exit 3
`;
    const { install, places } = await scene([{ ...tiny, files: { 'agent.sh': agent } }]);
    const found = { kind: 'bubblewrap' as const, hidden: [places.folder] };
    const works = sandboxSpec.parse({ ...found, program: findBubblewrap(process.env['PATH']) });
    await expect(install({ sandbox: works })).rejects.toThrow(/does not run on this machine \([^)]*\): $/);
    await expect(install()).rejects.toThrow(/reached .*package.json\nreached .*environ\nplanted/);
    await install({ sandbox: sandboxSpec.parse(found) });
    expect(findAgent(entryOf(), places)).toMatchObject({ kind: 'found', from: 'installed' });
  },
);
