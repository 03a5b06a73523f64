import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { findStragglers } from '../src/agent/process-identity.ts';
import type { Run } from '../src/contract/api.ts';
import type { Problem } from '../src/contract/api-system.ts';
import { startTestHouse, type TestHouse } from './support/house.ts';
import { startModelServer } from './support/model-server.ts';
import { sourceRepository } from './support/sources.ts';
import { until } from './support/until.ts';

/** What stands in the way of storing and of stopping: writes that fail, directories that are gone, agents that do not listen. */

const ACP_AGENT = join(import.meta.dirname, 'support', 'acp-agent.ts');
const acp = (...behaviour: string[]) => ({ command: ['{node}', ACP_AGENT, ...behaviour] });
const script = 'models: { any: { turns: [{ text: hello }] } }';
const settings = {
  default_model: 'scripted/any',
  agents: { write: acp('write', 'value.txt=new'), linger: acp('linger'), stubborn: acp('stubborn') },
};

/** Changes the database beside the server, as no other program should. */
function meddle(house: TestHouse, sql: string): void {
  const database = new DatabaseSync(join(house.dataDir, 'aideator.sqlite'), { timeout: 5000 });
  database.exec(sql);
  database.close();
}

const seconds = (count: number) => new Promise((resolve) => setTimeout(resolve, count * 1000));
const first = async (house: TestHouse, runId: string) =>
  (await house.api<Run>('GET', `/api/v1/runs/${runId}`)).body.variations[0];

describe('a store that cannot write for a while', () => {
  it.each([
    ['what an attempt says', "INSERT ON events WHEN NEW.type = 'agent_output'"],
    ['how it ended', "INSERT ON events WHEN NEW.type = 'agent_complete'"],
    ['that it starts', 'INSERT ON attempts'],
  ])('of %s, makes nothing lost', async (_what, when) => {
    const house = await startTestHouse({ script, settings });
    meddle(house, `CREATE TRIGGER trouble BEFORE ${when} BEGIN SELECT RAISE(ABORT, 'trouble'); END`);
    const runId = await house.submit({ repository: sourceRepository(), prompt: 'x', agent: 'write', variations: 1 });
    await seconds(2);
    expect((await house.api<Run>('GET', `/api/v1/runs/${runId}`)).body.status).toMatch(/queued|running/);
    meddle(house, 'DROP TRIGGER trouble');
    const run = await house.over(runId);
    expect(run.variations[0]).toMatchObject({ status: 'succeeded', attempts: [{ log_complete: true, gaps: [] }] });
  });
});

describe('stop', () => {
  it('means stop where the attempt’s directory is gone, and the clocks of others go on', async () => {
    const house = await startTestHouse({ script, settings });
    const repository = sourceRepository();
    const runId = await house.submit({ repository, prompt: 'x', agent: 'linger', variations: 1 });
    await until(async () => (await first(house, runId))?.status === 'running');
    const attempt = (await first(house, runId))?.attempts[0]?.attempt_id ?? '';
    rmSync(join(house.dataDir, 'attempts', attempt), { recursive: true });
    const timed = await house.submit({
      repository,
      prompt: 'x',
      agent: 'linger',
      variations: 1,
      limits: { run_timeout_seconds: 1 },
    });
    const cancelled = await house.api('POST', `/api/v1/runs/${runId}/cancel`);
    expect(cancelled.status).toBe(200);
    expect((await house.over(runId)).variations[0]?.status).toBe('cancelled');
    expect(findStragglers(attempt)).toEqual([]);
    expect((await house.over(timed)).variations[0]?.end_reason).toBe('run_timeout');
    expect(existsSync(join(house.dataDir, 'attempts', attempt))).toBe(false);
  });

  it('cuts the model call that is under way, and no later one is made', async () => {
    const model = await startModelServer(
      'models: { slow: { turns: [{ text: "word ", repeat: 5000, delay_ms: 20 }] } }',
    );
    const house = await startTestHouse({
      settings: {
        default_model: 'far/slow',
        providers: { far: { kind: 'anthropic', base_url: model.baseUrl, key_needed: false } },
      },
    });
    const runId = await house.submit({ repository: sourceRepository(), prompt: 'x', variations: 1 });
    await until(() => model.requests.length === 1);
    await until(async () => (await first(house, runId))?.status === 'running');
    await house.api('POST', `/api/v1/runs/${runId}/cancel`);
    await model.requests[0]?.closed;
    await house.over(runId);
    expect(model.requests).toHaveLength(1);
    const used = (await house.api<Run>('GET', `/api/v1/runs/${runId}`)).body.usage;
    expect(used).toMatchObject({ calls: 1, cost_microdollars: null });
  });

  it('a retry waits for the end; one of a run that is being forgotten is refused', async () => {
    const house = await startTestHouse({ script, settings });
    const runId = await house.submit({ repository: sourceRepository(), prompt: 'x', agent: 'stubborn', variations: 1 });
    await until(async () => (await first(house, runId))?.status === 'running');
    const early = await house.api<Problem>('POST', `/api/v1/runs/${runId}/variations/0/retry`);
    expect([early.status, early.body.code]).toEqual([409, 'not_retryable']);
    expect((await house.api('DELETE', `/api/v1/runs/${runId}`)).status).toBe(202);
    expect((await house.api('POST', `/api/v1/runs/${runId}/variations/0/retry`)).status).toBe(404);
    await until(async () => Object.keys((await house.flow.states()).runs).length === 0);
  });
});
