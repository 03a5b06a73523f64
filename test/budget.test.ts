import { describe, expect, it } from 'vitest';
import type { EventPage, Run, Submitted } from '../src/contract/api.ts';
import type { Info, Problem } from '../src/contract/api-system.ts';
import { startTestHouse } from './support/house.ts';
import { prepareServer } from './support/server-process.ts';
import { sourceRepository } from './support/sources.ts';
import { until } from './support/until.ts';

/** Budgets through the public door, with real agents: what is used up ends, what was done is kept, nothing new is started. */

const step = (index: number): string =>
  `          - { text: "step ${index}", tools: [{ name: write, input: { path: "file-${index}.txt", content: "${index}\\n" } }], usage: { input: 900, output: 100 } }`;
const script = `
models:
  worker:
    price: { input: 1000000, output: 1000000, max_output_tokens: 2000 }
    conversations:
      - when: stay
        turns:
          - { text: "a b c d", stall_after: 1, usage: { input: 900, output: 100 } }
      - turns:
${Array.from({ length: 60 }, (_, index) => step(index)).join('\n')}
          - { text: Done., usage: { input: 900, output: 100 } }
  free:
    turns: [{ text: Done. }]
`;
const settings = { default_model: 'scripted/worker' };

const eventsOf = async (house: { api: <A>(method: string, path: string) => Promise<{ body: A }> }, runId: string) =>
  (await house.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?limit=1000`)).body.events;

describe('a budget that is used up', () => {
  it('ends what runs, with its work kept; what waits is not started; the bound is kept', async () => {
    const house = await startTestHouse({ script, settings });
    const runId = await house.submit({
      repository: sourceRepository(),
      prompt: 'Write files.',
      variations: 4,
      max_parallel: 2,
      retries: 1,
      budget: { max_cost_microdollars: 20_000 },
    });
    const run = await house.over(runId);
    expect(run.variations.map((each) => [each.status, each.end_reason])).toEqual(
      Array.from({ length: 4 }, () => ['failed', 'budget_exhausted']),
    );
    const [first, second, ...never] = run.variations;
    for (const each of [first, second]) {
      expect(each?.message).toMatch(/^The run’s budget of \$0\.02 is used up/);
      expect(each?.attempts).toHaveLength(1);
    }
    // The one may have used it all up before the other wrote anything.
    const worked = run.variations.filter(({ files_changed: files }) => (files ?? 0) > 0);
    expect(worked.length).toBeGreaterThan(0);
    for (const each of worked) expect(each.patch_url).not.toBeNull();
    for (const each of never) {
      expect(each.attempts).toEqual([]);
      expect(each.message).toMatch(/^It was not started: The run’s budget/);
    }
    const { budget } = run;
    expect(budget).toMatchObject({ max_cost_microdollars: 20_000, max_tokens: null, reserved_microdollars: 0 });
    expect(budget?.used_microdollars).toBeGreaterThanOrEqual(20_000);
    expect(budget?.used_microdollars).toBeLessThan(20_000 + (budget?.largest_reservation_microdollars ?? 0));
    const events = await eventsOf(house, runId);
    const levels = events.filter(({ type }) => type === 'budget').map(({ data }) => data['level']);
    expect(levels).toEqual([80, 100]);
    expect(events.some(({ type, data }) => type === 'agent_error' && /used up/.test(String(data['content'])))).toBe(
      true,
    );

    // Nothing new is started on it by hand either; what there is can be chosen.
    const retried = await house.api<Problem>('POST', `/api/v1/runs/${runId}/variations/0/retry`);
    expect([retried.status, retried.body.code]).toEqual([402, 'budget_exhausted']);
    const chosen = await house.api<Run>('POST', `/api/v1/runs/${runId}/select`, {
      winning_variation_id: worked[0]?.variation_id,
    });
    expect(chosen.body.choice?.winning_variation_id).toBe(worked[0]?.variation_id);
  }, 60_000);

  it('of one variation ends that one', async () => {
    const house = await startTestHouse({ script, settings });
    const runId = await house.submit({
      repository: sourceRepository(),
      prompt: 'Write files.',
      variations: [{ budget: { max_tokens: 2000 } }, { model: 'scripted/free' }],
    });
    const run = await house.over(runId);
    expect(run.variations.map((each) => each.end_reason)).toEqual(['budget_exhausted', 'no_changes']);
    expect(run.variations[0]?.budget).toMatchObject({ max_tokens: 2000, used_tokens: 2000 });
    expect([run.budget, run.variations[1]?.budget]).toEqual([null, null]);
  }, 60_000);

  it('of a day lets nothing new in', async () => {
    const house = await startTestHouse({ script, settings: { ...settings, budget: { day: { max_tokens: 3000 } } } });
    const repository = sourceRepository();
    const first = await house.over(await house.submit({ repository, prompt: 'Write files.', variations: 1 }));
    expect(first.variations[0]).toMatchObject({ end_reason: 'budget_exhausted', files_changed: 3 });
    const refused = await house.api<Problem>('POST', '/api/v1/runs', { repository, prompt: 'More.', variations: 1 });
    expect([refused.status, refused.body.code]).toEqual([402, 'budget_exhausted']);
    const { body } = await house.api<Info>('GET', '/api/v1/info');
    expect(body.budget_day).toMatchObject({ max_tokens: 3000, used_tokens: 3000 });
  }, 60_000);
});

it('a model without a price takes no budget in money, and a budget in tokens says so', async () => {
  const house = await startTestHouse({ script, settings });
  const ask = (budget: object) =>
    house.api<Pick<Submitted, 'run_id' | 'notes'> & Pick<Problem, 'code' | 'detail'>>('POST', '/api/v1/runs', {
      repository: sourceRepository(),
      prompt: 'x',
      variations: [{ model: 'scripted/free' }],
      budget,
    });
  const refused = await ask({ max_cost_microdollars: 1000 });
  expect([refused.status, refused.body.code]).toEqual([422, 'price_unknown']);
  expect(refused.body.detail).toContain('scripted/free');
  const taken = await ask({ max_tokens: 100_000 });
  expect([taken.status, taken.body.notes]).toEqual([202, [expect.stringContaining('only tokens are limited')]]);
  expect((await ask({ max_tokens: 0 })).status).toBe(400);
  expect((await ask({ max_tokens: 1.5 })).status).toBe(400);
  await house.over(taken.body.run_id);
});

it('survives a kill -9 in the middle of calls: what was set aside counts, and the rest of the budget holds', async () => {
  const server = prepareServer({ script, settings });
  await server.start();
  const runId = await server.submit({
    repository: sourceRepository(),
    prompt: 'Write files, and stay.',
    variations: 2,
    budget: { max_tokens: 20_000 },
  });
  const view = async () => (await server.api<Run>('GET', `/api/v1/runs/${runId}`)).body;
  await until(async () => ((await view()).budget?.reserved_tokens ?? 0) > 10_000);
  const before = (await view()).budget;
  await server.kill();
  await server.start();
  const after = (await view()).budget;
  // Agents ask again at once, and what they ask for is set aside anew: the dead calls count all the same.
  expect(after).toMatchObject({ assumed_calls: 2, used_tokens: before?.reserved_tokens });
  await server.api('POST', `/api/v1/runs/${runId}/cancel`);
  const run = await server.over(runId);
  expect(run.budget?.reserved_tokens).toBe(0);
  expect(run.budget?.unspent_microdollars).toBeNull();
}, 120_000);
