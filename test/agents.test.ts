import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { knownAgents } from '../src/agent/catalog.ts';
import { loadConfig } from '../src/config.ts';
import type { AgentView, Problem } from '../src/contract/api-system.ts';
import { newPerson } from './support/cli.ts';
import { startTestHouse } from './support/house.ts';
import { startRegistry } from './support/npm-registry.ts';
import { sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';

/** Agents as people meet them: listed, installed, checked, refused. The agents that are installed here are the tests' own. */

const platform = `${process.platform}-${process.arch}`;

/** An agent of somebody's own, in a package: it speaks ACP and asks no model. */
const acpAgent = stripTypeScriptTypes(readFileSync(join(import.meta.dirname, 'support', 'acp-agent.ts'), 'utf8'));
const mine = {
  description: 'One of my own.',
  command: ['my-agent-that-nobody-has'],
  npm: {
    package: 'my-agent',
    version: '1.0.0',
    command: ['{node}', '{install}/node_modules/my-agent/agent.mjs', 'write', 'value.txt=mine\n'],
    env: { MY_AGENT_HOME: '{install}' },
  },
  files: { '.mine/settings.json': '{"model":"{model}"}' },
  licence: 'mine alone',
};
const packages = [{ name: 'my-agent', version: '1.0.0', files: { 'agent.mjs': acpAgent } }];
const noScripts = { scripted: { kind: 'scripted', script: '' } };

it('an agent of one’s own is an entry in the configuration: listed, refused, installed, run', async () => {
  const registry = await startRegistry(packages);
  const script = join(tempDir(), 'script.yaml');
  writeFileSync(script, 'models: { any: { turns: [{ text: Hello. }] } }\n');
  const person = newPerson({
    settings: { agents: { mine }, providers: { scripted: { ...noScripts.scripted, script } } },
    env: registry.env,
  });
  const repository = sourceRepository({ 'value.txt': 'none\n' });
  const run = ['run', '--repo', repository, '--prompt', 'Set the value.', '-n', '1', '--agent', 'mine'];

  const before = await person.run('agents', 'list');
  expect(before.code).toBe(0);
  expect(before.out.split('\n').filter((line) => line.length > 80)).toEqual([]);
  expect(before.out).toContain('-     mine         mine is not installed.\n');
  expect(before.out).toContain('aideator agents install mine');

  const refused = await person.run(...run);
  expect(refused.code).toBe(5);
  expect(refused.err).toMatch(/mine is not installed\.[\s\S]*aideator agents install mine[\s\S]*agent_missing/);

  const installed = await person.run('agents', 'install', 'mine');
  expect([installed.code, installed.err.split('\n')[0]]).toEqual([0, 'mine: mine alone.']);
  expect(installed.out).toMatch(
    /^mine 1\.0\.0 is installed( \(\d+ s\))?\.\n\nNext:\n {2}aideator agents check mine\n$/,
  );
  expect(existsSync(join(person.dataDir, 'agents', 'mine', '1.0.0', 'node_modules', 'my-agent'))).toBe(true);
  const asked = registry.asked().length;
  expect((await person.run('agents', 'install', 'mine')).code).toBe(0);
  expect(registry.asked()).toHaveLength(asked);

  const done = await person.run(...run, '--json');
  expect(done.code).toBe(0);
  expect(JSON.parse(done.out)).toMatchObject({
    status: 'completed',
    variations: [{ agent: 'mine', files_changed: 1 }],
  });

  const checked = await person.run('agents', 'check', 'mine');
  expect(checked.code).toBe(5);
  expect(checked.out).toContain('fail  thinks');
  expect(checked.out).toMatch(/fail {2}writes +no checked\.txt: end_turn/);
});

it('the built-in agent passes the check in both of its protocols; a server elsewhere is not asked to check', async () => {
  const person = newPerson();
  for (const dialect of ['anthropic', 'openai']) {
    const { code, out } = await person.run('agents', 'check', 'builtin', '--dialect', dialect);
    expect([code, out.match(/^(fail|warn).*$/gm)]).toEqual([0, null]);
    expect(out.match(/^ok {4}/gm)).toHaveLength(7);
  }
  const elsewhere = await person.run('agents', 'check', 'builtin', '--url', 'http://127.0.0.1:9');
  expect([elsewhere.code, elsewhere.err]).toEqual([2, expect.stringContaining('where it is installed') as string]);
  const unknown = await person.run('agents', 'check', 'nobody');
  expect([unknown.code, unknown.err]).toEqual([2, expect.stringContaining('code: unknown_agent') as string]);
});

it('what cannot be installed or run is refused in words, before anything is stored', async () => {
  const house = await startTestHouse({
    settings: {
      providers: { maker: { kind: 'anthropic', base_url: 'http://127.0.0.1:9' } },
      default_model: 'maker/m',
      agents: {
        alien: { command: ['x'], platforms: ['plan9-mips'], npm: { package: 'x', version: '1.0.0', command: ['x'] } },
        picky: { command: ['x'], dialects: ['responses'] },
        old: { command: ['nobody-has-this'], npm: { package: 'old', version: '2.0.0', command: ['x'] } },
      },
    },
  });
  const other = join(house.dataDir, 'agents', 'old', '1.0.0');
  mkdirSync(other, { recursive: true });
  writeFileSync(join(other, 'installed.json'), JSON.stringify({ package: 'old', version: '1.0.0', platform }));
  const { body } = await house.api<{ agents: AgentView[] }>('GET', '/api/v1/agents');
  const states = Object.fromEntries(body.agents.map((agent) => [agent.name, [agent.state, agent.from, agent.version]]));
  expect(states['builtin']).toEqual(['ready', 'builtin', '0.0.0-test']);
  expect(states['old']).toEqual(['other_version', null, '1.0.0']);
  expect(states['alien']).toEqual(['unsupported', null, null]);
  expect(Object.keys(states)).toEqual(expect.arrayContaining(knownAgents.map(({ name }) => name)));

  const submit = (agent: string) =>
    house.api<Problem>('POST', '/api/v1/runs', { repository: sourceRepository(), prompt: 'x', variations: 1, agent });
  expect((await submit('alien')).body).toMatchObject({
    code: 'agent_missing',
    detail: `alien does not run on ${platform}: it is made for plan9-mips.`,
  });
  expect((await submit('old')).body).toMatchObject({
    code: 'agent_missing',
    detail: 'old is installed in version 1.0.0; 2.0.0 is needed.',
    hint: 'aideator agents install old (old@2.0.0 from npm)',
  });
  const mismatch = { repository: sourceRepository(), prompt: 'x', variations: [{ agent: 'picky', model: 'maker/m' }] };
  expect((await house.api<Problem>('POST', '/api/v1/runs', mismatch)).body).toMatchObject({
    code: 'invalid_variations',
    detail: 'The agent picky speaks responses; maker/m is asked in anthropic.',
    hint: 'Choose a model of another provider, or another agent.',
  });
  const install = (agent: string) => house.api<Problem>('POST', `/api/v1/agents/${agent}/install`, {});
  expect((await install('alien')).body).toMatchObject({ status: 422, code: 'agent_missing' });
  expect((await install('builtin')).body).toMatchObject({ status: 400, code: 'invalid_request' });
  expect((await install('nobody')).body).toMatchObject({ status: 422, code: 'unknown_agent' });
});

it('in a configuration no settings file leads out of HOME, and no version is a range', () => {
  const load = (entry: object) => () =>
    loadConfig({ env: { HOME: tempDir() }, flags: { agents: { mine: { command: ['x'], ...entry } } } });
  expect(load({ files: { '.config/x.json': '{}' } })).not.toThrow();
  for (const path of ['../x', '/etc/x', 'a/../../x'])
    expect(load({ files: { [path]: '' } })).toThrow(/agents\.mine\.files/);
  for (const version of ['latest', '^1.0.0', '1', 'file:/x', ''])
    expect(load({ npm: { package: 'x', version, command: ['x'] } })).toThrow(/must be one exact version/);
  for (const name of ['--x', '../x', 'a b', 'https://x/y'])
    expect(load({ npm: { package: name, version: '1.0.0', command: ['x'] } })).toThrow(/name of a package/);
});
