import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { knownAgents } from '../../src/agent/catalog.ts';
import { eventsOf, startClusterHouse } from '../support/cluster-house.ts';
import { mixedScript } from '../support/harnesses.ts';
import { makeNamespace, realCluster } from '../support/real-cluster.ts';
import { sourceRepository } from '../support/sources.ts';

/** Agents that others made, in an image that the recipe made of ours. */

const cluster = realCluster();
const namespace = `kubetests-mixed-${process.pid}`;
const others = ['codex', 'qwen-code'];

describe.runIf(cluster !== null)('a mixed run on a cluster', () => {
  const image = cluster?.agentImage.replace('/aideator-agent:', '/others-agents:') ?? '';
  afterAll(cluster === null ? () => undefined : makeNamespace(cluster, namespace));

  beforeAll(async () => {
    if (cluster === null) return;
    const run = promisify(execFile);
    const recipe = join(import.meta.dirname, '..', '..', 'deploy', 'images');
    const packages = knownAgents.flatMap(({ name, npm }) =>
      npm !== undefined && others.includes(name) ? [`${npm.package}@${npm.version}`] : [],
    );
    const args = ['--build-arg', `AGENT_IMAGE=${cluster.agentImage}`, '--build-arg', `AGENTS=${packages.join(' ')}`];
    await run('docker', ['build', '-f', join(recipe, 'agents.Dockerfile'), ...args, '-t', image, recipe]);
    await run('docker', ['push', image]);
  }, 300_000);

  it('the built-in agent and two others do one task, each in its pod', { timeout: 300_000 }, async () => {
    if (cluster === null) return;
    const requests = { cpu: '10m', memory: '256Mi', 'ephemeral-storage': '64Mi' };
    const house = await startClusterHouse(cluster, namespace, {
      script: mixedScript,
      settings: { default_model: 'scripted/any' },
      kubernetes: {
        images: [image],
        resources: { requests, limits: { cpu: '2', memory: '2Gi', 'ephemeral-storage': '2Gi' } },
      },
    });
    const agents = ['builtin', ...others];
    const runId = await house.submit({
      repository: sourceRepository({ 'value.txt': 'none\n' }),
      prompt: 'Set the value in value.txt.',
      variations: agents.map((agent) => ({ agent })),
      max_parallel: 1,
      image,
    });
    const run = await house.over(runId, 280_000);
    expect(run.variations.map(({ agent, status, message, additions }) => [agent, status, message, additions])).toEqual(
      agents.map((agent) => [agent, 'succeeded', null, 1]),
    );
    for (const each of agents.keys()) {
      const kinds = new Set((await eventsOf(house, runId, each)).map(({ data }) => data['kind']));
      expect([...kinds]).toEqual(expect.arrayContaining(['agent_thought_chunk', 'tool_call']));
    }
  });
});
