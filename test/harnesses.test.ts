import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { checkAgent } from '../src/cli/agents/check-run.ts';
import { findingsOf } from '../src/cli/commands/agents-check.ts';
import { startHouse } from '../src/compose.ts';
import type { Comparison, Run } from '../src/contract/api.ts';
import type { Dialect } from '../src/contract/dialect.ts';
import { knownAgents } from '../src/agent/catalog.ts';
import { agentsDir, installedHarnesses, mixedScript } from './support/harnesses.ts';
import { startTestHouse, testEnv } from './support/house.ts';
import { noSandbox } from './support/sandbox.ts';
import { gitAs, sourceRepository } from './support/sources.ts';
import { tempDir } from './support/temp.ts';

/**
 * Agents that others made, as they are installed from npm, against the scripted model: through a real server, our recorder and its
 * proxy. Where to look for them says AIDEATOR_TEST_AGENTS; `.ci/run` installs two.
 */

const harnesses = installedHarnesses();
/** They start slowly where much else runs. */
const PATIENCE = 240_000;

const spoken = harnesses.flatMap((name): [string, Dialect][] =>
  (knownAgents.find((agent) => agent.name === name)?.dialects ?? []).map((dialect) => [name, dialect]),
);

describe.skipIf(harnesses.length === 0)('installed agents', () => {
  it.for(spoken)(
    '%s in %s: streams thoughts, calls a tool with its kind, writes the file, ends its turn, obeys cancel',
    { timeout: PATIENCE },
    async ([agent, dialect]) => {
      const home = tempDir();
      const checked = await checkAgent(
        { env: testEnv(home), startHouse, version: '0.0.0-test' },
        {
          agent,
          dialect,
          config: { agents: {}, agents_dir: agentsDir, data_dir: home },
          signal: AbortSignal.timeout(PATIENCE - 10_000),
        },
      );
      const odd = findingsOf(checked).filter(({ state }) => state !== 'ok');
      // What it stopped with is its own word; that it stopped is what counts.
      expect(
        odd.filter(({ name, state }) => !(agent === 'opencode' && name === 'cancels' && state === 'warn')),
      ).toEqual([]);
      expect(checked.run.variations[0]).toMatchObject({ agent, status: 'succeeded', end_reason: 'end_turn' });
      expect(checked.run.variations[1]).toMatchObject({ agent, status: 'cancelled', end_reason: 'cancelled' });
    },
  );
});

describe.skipIf(harnesses.length < 2)('a mixed run', () => {
  it(
    'the built-in agent and two others do one task; one is chosen, and its patch applies',
    { timeout: PATIENCE },
    async () => {
      const agents = ['builtin', ...harnesses.slice(0, 2)];
      const house = await startTestHouse({
        script: mixedScript,
        settings: {
          default_model: 'scripted/any',
          agents_dir: agentsDir,
          sandbox: { mode: noSandbox === null ? 'auto' : 'off' },
        },
      });
      const repository = sourceRepository({ 'value.txt': 'none\n' });
      const runId = await house.submit({
        repository,
        prompt: 'Set the value in value.txt.',
        variations: agents.map((agent) => ({ agent })),
        max_parallel: 1,
      });
      const run = await house.over(runId, PATIENCE - 20_000);
      expect(run.variations.map(({ agent, status, message }) => [agent, status, message])).toEqual(
        agents.map((agent) => [agent, 'succeeded', null]),
      );
      const { body: comparison } = await house.api<Comparison>('GET', `/api/v1/runs/${runId}/compare`);
      expect(comparison.files.all).toEqual(['value.txt']);
      expect(comparison.variations.map(({ same_as: same }) => same)).toEqual([
        [1, 2],
        [0, 2],
        [0, 1],
      ]);
      const chosen = await house.api<Run>('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 2 });
      expect(chosen.body.choice?.winning_variation_id).toBe(2);
      const patch = await house.api('GET', `/api/v1/runs/${runId}/variations/2/patch`);
      const file = join(tempDir(), 'chosen.patch');
      writeFileSync(file, patch.text);
      const clone = join(tempDir(), 'clone');
      execFileSync('git', ['clone', '--quiet', repository, clone]);
      gitAs(clone, 'apply', '--index', file);
      expect(gitAs(clone, 'diff', '--cached', '--stat')).toContain('1 file changed');
      expect(gitAs(clone, 'show', ':value.txt')).toBe('set');
    },
  );
});
