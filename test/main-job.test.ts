import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Comparison, EventPage, Run, Shipped } from '../src/contract/api.ts';
import type { Problem } from '../src/contract/api-system.ts';
import { startTestHouse } from './support/house.ts';
import { noSandbox } from './support/sandbox.ts';
import { gitAs, sourceRepository } from './support/sources.ts';
import { until } from './support/until.ts';

/** The main job through the public door, with everything real but the model: submit, run, stream, compare, choose, ship. */

const script = `
models:
  worker:
    price: { input: 3000000, output: 15000000 }
    conversations:
      - when: make it A
        turns:
          - { thinking: A it is., tools: [{ name: write, input: { path: value.txt, content: "A\\n" } }] }
          - { text: Done. }
      - when: make it B
        turns:
          - { text: B then., tools: [{ name: bash, input: { command: "printf 'B\\\\n' > value.txt && mkdir -p test && echo t > test/value.test.js" } }] }
          - { text: Done. }
      - when: refuse the key
        turns:
          - error: { status: 401, message: invalid x-api-key }
      - when: change nothing
        turns:
          - { text: Nothing to do. }
      - when: say who you are
        turns:
          - { tools: [{ name: bash, input: { command: "echo $AIDEATOR_ATTEMPT > value.txt" } }] }
          - { text: Done. }
      - when: take long
        turns:
          - { text: ". ", repeat: 2000, delay_ms: 50 }
  free:
    turns:
      - { tools: [{ name: write, input: { path: value.txt, content: "A\\n" } }] }
      - { text: Done. }
`;
const strategies = Object.fromEntries(
  ['make it A', 'make it B', 'refuse the key', 'change nothing', 'say who you are', 'take long'].map((instruction) => [
    instruction.split(' ').at(-1)?.toLowerCase() ?? '',
    { instruction },
  ]),
);
const settings = { strategies, default_model: 'scripted/worker' };
const sandboxed = { ...settings, sandbox: { mode: noSandbox === null ? 'auto' : 'off' } };

const isSaid = ({ data }: EventPage['events'][number]): boolean => data['kind'] === 'agent_message_chunk';

describe('the main job on one machine', () => {
  it('runs variations over both protocols, compares them, chooses and ships one; the rest of the repository stays', async () => {
    const house = await startTestHouse({ script, settings: sandboxed });
    const repository = sourceRepository({ 'value.txt': 'none\n', 'other.txt': 'x\n' });
    const runId = await house.submit({
      repository,
      prompt: 'Set the value.',
      variations: [
        { strategy: 'a' },
        { strategy: 'b', dialect: 'openai' },
        { strategy: 'key' },
        { model: 'scripted/free', dialect: 'openai' },
        { strategy: 'nothing' },
      ],
    });
    const run = await house.over(runId);
    expect(run.variations.map((each) => [each.status, each.end_reason])).toEqual([
      ['succeeded', 'end_turn'],
      ['succeeded', 'end_turn'],
      ['failed', 'provider_auth'],
      ['succeeded', 'end_turn'],
      ['failed', 'no_changes'],
    ]);
    expect([run.status, run.summary]).toEqual(['completed', '3 of 5 variations succeeded']);
    expect(run.variations[2]?.message).toMatch(/401|key/i);
    expect(run.variations.every((each) => each.attempts.every((attempt) => attempt.log_complete === true))).toBe(true);
    if (noSandbox === null) expect(run.variations[0]?.attempts[0]?.isolation).toMatch(/^sandbox \(/);
    expect(run.variations[0]?.usage.cost_microdollars).toBeGreaterThan(0);
    expect(run.variations[3]?.usage).toMatchObject({ calls: 2, cost_microdollars: null });

    const { body: comparison } = await house.api<Comparison>('GET', `/api/v1/runs/${runId}/compare`);
    expect(comparison.files.all).toEqual(['value.txt']);
    expect(comparison.files.one).toEqual([{ path: 'test/value.test.js', variation_id: 1 }]);
    expect(comparison.variations.map((each) => each.same_as)).toEqual([[3], [], [], [0], []]);
    expect(comparison.variations.map((each) => each.tests_touched)).toEqual([0, 1, 0, 0, 0]);

    const diff = await house.api('GET', `/api/v1/runs/${runId}/diff?a=0&b=1`);
    expect(diff.text).toContain('-A\n+B');

    const early = await house.api<Problem>('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch' });
    expect([early.status, early.body.code]).toEqual([409, 'not_chosen']);
    const nothing = await house.api<Problem>('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 4 });
    expect([nothing.status, nothing.body.code]).toEqual([409, 'nothing_to_ship']);
    const chosen = await house.api<Run>('POST', `/api/v1/runs/${runId}/select`, {
      winning_variation_id: 0,
      reason: 'small',
    });
    expect(chosen.body.choice).toMatchObject({ winning_variation_id: 0, reason: 'small' });
    const other = await house.api<Problem>('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 1 });
    expect([other.status, other.body.code]).toEqual([409, 'already_chosen']);
    const again = await house.api<Run>('POST', `/api/v1/runs/${runId}/select`, {
      winning_variation_id: 1,
      force: true,
    });
    expect(again.body.choice?.winning_variation_id).toBe(1);

    const before = gitAs(repository, 'status', '--porcelain', '--branch');
    const { body: shipped } = await house.api<Shipped>('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch' });
    expect(shipped).toMatchObject({ variation_id: 1, branch: `aideator/${runId}-1`, files: 2 });
    expect(gitAs(repository, 'status', '--porcelain', '--branch')).toBe(before);
    expect(gitAs(repository, 'show', `aideator/${runId}-1:value.txt`)).toBe('B');
    expect(gitAs(repository, 'rev-parse', `aideator/${runId}-1^`)).toBe(run.base);
    const again5 = await Promise.all(
      Array.from({ length: 5 }, () => house.api('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch' })),
    );
    expect(again5.map((answer) => answer.status)).toEqual([200, 200, 200, 200, 200]);
    const same = await house.api<Shipped>('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch' });
    expect(same.body.commit).toBe(shipped.commit);
    const taken = { kind: 'branch', branch: `aideator/${runId}-1`, variation_id: 0 };
    const twice = await house.api<Problem>('POST', `/api/v1/runs/${runId}/ship`, taken);
    expect([twice.status, twice.body.code]).toEqual([409, 'branch_exists']);
    const applied = await house.api<Shipped>('POST', `/api/v1/runs/${runId}/ship`, { kind: 'apply', variation_id: 0 });
    expect(applied.body.kind).toBe('apply');
    expect(readFileSync(join(repository, 'value.txt'), 'utf8')).toBe('A\n');

    const patch = await house.api('GET', `/api/v1/runs/${runId}/variations/1/patch`);
    expect(patch.text).toContain('diff --git a/value.txt b/value.txt');
    const { body: page } = await house.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?limit=500`);
    expect(page.events.map((event) => event.id)).toEqual(
      page.events.map((event) => event.id).toSorted((a, b) => a - b),
    );
    expect(
      page.events.some((event) => event.data['kind'] === 'agent_thought_chunk' && event.data['variation_id'] === 0),
    ).toBe(true);
    expect(page.events.find((event) => event.type === 'run_complete')?.data).toMatchObject({
      succeeded: 3,
      failed: 2,
      variations: 5,
    });
    expect(readdirSync(join(house.dataDir, 'attempts'))).toEqual([]);
  });

  it('cancels the rest on an early choice, keeps what was said, and starts a retry as a new attempt', async () => {
    const house = await startTestHouse({ script, settings });
    const repository = sourceRepository({ 'value.txt': 'none\n' });
    const runId = await house.submit({
      repository,
      prompt: 'Set.',
      variations: [{ strategy: 'a' }, { strategy: 'long' }, { strategy: 'long' }],
      max_parallel: 2,
    });
    await until(async () => {
      const { body } = await house.api<Run>('GET', `/api/v1/runs/${runId}`);
      const words = (await house.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?variation_id=1&limit=100`)).body;
      return body.variations[0]?.status === 'succeeded' && words.events.some(isSaid);
    });
    const chosen = await house.api<Run>('POST', `/api/v1/runs/${runId}/select`, {
      winning_variation_id: 0,
      cancel_rest: true,
    });
    expect(chosen.status).toBe(200);
    const run = await house.over(runId);
    expect(run.status).toBe('completed');
    expect(run.variations.map((each) => each.end_reason)).toEqual(['end_turn', 'superseded', 'superseded']);
    const said = await house.api<EventPage>('GET', `/api/v1/runs/${runId}/outputs?variation_id=1&limit=1000`);
    expect(said.body.events.some(isSaid)).toBe(true);

    const retried = await house.api<Run>('POST', `/api/v1/runs/${runId}/variations/1/retry`);
    expect([retried.status, retried.body.status]).toEqual([202, 'running']);
    await until(
      async () => (await house.api<Run>('GET', `/api/v1/runs/${runId}`)).body.variations[1]?.status === 'running',
    );
    await house.api('POST', `/api/v1/runs/${runId}/cancel`);
    await house.api('POST', `/api/v1/runs/${runId}/cancel`);
    const after = await house.over(runId);
    expect(after.status).toBe('cancelled');
    expect(after.variations[1]?.attempts.map((attempt) => [attempt.attempt, attempt.status])).toEqual([
      [0, 'cancelled'],
      [1, 'cancelled'],
    ]);
    const refused = await house.api<Problem>('POST', `/api/v1/runs/${runId}/variations/0/retry`);
    expect([refused.status, refused.body.code]).toEqual([409, 'not_retryable']);
  });

  it('ships the answer that was seen when it was chosen, whatever a retry brings', async () => {
    const house = await startTestHouse({ script, settings });
    const repository = sourceRepository({ 'value.txt': 'none\n' });
    const runId = await house.submit({
      repository,
      prompt: 'Set.',
      variations: [{ strategy: 'are', limits: { max_steps: 1 } }],
    });
    const first = await house.over(runId);
    expect(first.variations[0]).toMatchObject({ status: 'failed', end_reason: 'max_turns', files_changed: 1 });
    await house.api('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 0 });
    const retried = await house.api<Run>('POST', `/api/v1/runs/${runId}/variations/0/retry`);
    expect(retried.body.variations[0]).toMatchObject({ files_changed: null, patch_url: null });
    const second = await house.over(runId);
    const attempts = second.variations[0]?.attempts.map((attempt) => attempt.attempt_id) ?? [];
    expect(new Set(attempts).size).toBe(2);
    await house.api('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch', branch: 'chosen' });
    await house.api('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch', branch: 'latest', variation_id: 0 });
    expect(['chosen', 'latest'].map((branch) => gitAs(repository, 'show', `${branch}:value.txt`))).toEqual(attempts);
  });

  it('two houses after each other: what was to be kept is kept, and a run’s clock is its own', async () => {
    const first = await startTestHouse({ script, settings: { ...settings, keep_workspaces: true } });
    const repository = sourceRepository();
    const runId = await first.submit({ repository, prompt: 'make it A', variations: 1 });
    const run = await first.over(runId);
    const timed = await first.submit({
      repository,
      prompt: 'take long',
      variations: 2,
      max_parallel: 1,
      limits: { run_timeout_seconds: 2 },
    });
    const late = await first.over(timed);
    expect(late.variations.map((each) => [each.status, each.end_reason])).toEqual([
      ['failed', 'run_timeout'],
      ['failed', 'run_timeout'],
    ]);
    expect(late.status).toBe('failed');
    await first.close();
    const second = await startTestHouse({ home: first.home, script, settings: { ...settings, keep_workspaces: true } });
    const kept = readdirSync(join(second.dataDir, 'attempts'));
    expect(kept).toContain(run.variations[0]?.attempts[0]?.attempt_id);
    expect((await second.api('DELETE', `/api/v1/runs/${runId}`)).status).toBe(204);
    expect(readdirSync(join(second.dataDir, 'attempts'))).not.toContain(run.variations[0]?.attempts[0]?.attempt_id);
  });

  it('forgets a run: rows, events, patches, files', async () => {
    const house = await startTestHouse({ script, settings });
    const repository = sourceRepository();
    const runId = await house.submit({
      repository,
      prompt: 'Set.',
      variations: [{ strategy: 'a' }, { strategy: 'long' }],
    });
    await until(
      async () => (await house.api<Run>('GET', `/api/v1/runs/${runId}`)).body.variations[0]?.status === 'succeeded',
    );
    const gone = await house.api('DELETE', `/api/v1/runs/${runId}`);
    expect([202, 204]).toContain(gone.status);
    expect((await house.api('GET', `/api/v1/runs/${runId}`)).status).toBe(404);
    await until(
      async () =>
        (await house.flow.states()).variations['running'] === undefined &&
        readdirSync(join(house.dataDir, 'attempts')).length === 0,
    );
    await until(async () => Object.keys((await house.flow.states()).runs).length === 0);
    const patches = join(house.dataDir, 'patches');
    await until(
      () =>
        !existsSync(patches) ||
        readdirSync(patches, { recursive: true }).every((name) => !String(name).endsWith('.patch')),
    );
  });

  it('runs 20 variations at once', async () => {
    const house = await startTestHouse({ script, settings: { ...settings, max_parallel: 20 } });
    const runId = await house.submit({ repository: sourceRepository(), prompt: 'make it A', variations: 20 });
    const run = await house.over(runId, 120_000);
    expect(run.counts).toMatchObject({ total: 20, succeeded: 20 });
    const lastStart = Math.max(...run.variations.map((each) => Date.parse(each.started_at ?? '')));
    const firstEnd = Math.min(...run.variations.map((each) => Date.parse(each.ended_at ?? '')));
    // All at once, not one after the other.
    expect(lastStart).toBeLessThan(firstEnd);
  }, 150_000);
});
