import { describe, expect, it } from 'vitest';
import { startTestHouse } from './support/house.ts';
import { makeGate, steer, steered } from './support/steering.ts';
import { until } from './support/until.ts';

/** What a variation is told after its run was submitted, with real recorders and an agent that does as it is told. */

describe('a prompt to a variation that is over', () => {
  it('is a new attempt that goes on from its work and its conversation; its result is against the base', async () => {
    const { submit, over, tell, said, patch, events } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one\ntool list\nsay I made a.');
    await over(runId);
    const told = await tell(runId, 0, 'see a.txt\nappend a.txt=two\nwrite b.txt=three\nrepeat');
    expect([told.status, told.body]).toMatchObject([202, { variation_id: 0, becomes: 'new_attempt', waiting: 1 }]);
    const run = await over(runId);
    expect(run).toMatchObject({ status: 'completed' });
    const [variation] = run.variations;
    expect(variation).toMatchObject({ status: 'succeeded', result_attempt: 1, files_changed: 2, prompts_waiting: 0 });
    expect(variation?.attempts.map(({ status, continues }) => [status, continues])).toEqual([
      ['succeeded', null],
      ['succeeded', { variation_id: 0, attempt: 0 }],
    ]);
    const [seen, repeated = ''] = await said(runId, 0, 1);
    expect(seen).toBe('a.txt is "one\\n"');
    expect(repeated).toContain('[the user asked]\n> write a.txt=one\n> tool list');
    expect(repeated).toContain('[the agent used a tool]\n| Run list (completed)\n[its output]\n| output of list');
    expect(repeated).toContain('[the agent said]\n| I made a.');
    expect(
      repeated.endsWith('What the user wants now:\n\nsee a.txt\nappend a.txt=two\nwrite b.txt=three\nrepeat'),
    ).toBe(true);
    const text = await patch(runId, 0);
    expect(text).toContain('+one\n+two\n');
    expect(text).toContain('+three\n');
    const queued = (await events(runId)).find(({ type }) => type === 'prompt_queued');
    expect(queued?.data).toMatchObject({ becomes: 'new_attempt', continues: { variation_id: 0, attempt: 0 } });
  }, 60_000);

  it('and again: the whole chain is told, and nothing of the record is told twice', async () => {
    const { submit, over, tell, said } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one\nsay first answer');
    await over(runId);
    await tell(runId, 0, 'append a.txt=two\nsay second answer');
    await over(runId);
    await tell(runId, 0, 'see a.txt\nrepeat');
    await over(runId);
    const [seen, record = ''] = await said(runId, 0, 2);
    expect(seen).toBe('a.txt is "one\\ntwo\\n"');
    for (const each of ['| first answer', '> append a.txt=two', '| second answer'])
      expect(record.split(each)).toHaveLength(2);
    expect(record.indexOf('first answer')).toBeLessThan(record.indexOf('second answer'));
  }, 60_000);

  it('twice at once is one attempt, with a second turn', async () => {
    const { submit, over, tell, said } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one');
    await over(runId);
    const both = await Promise.all([1, 2].map((n) => tell(runId, 0, `append a.txt=${n}\nsay ${n}`)));
    expect(both.map(({ body }) => body.becomes).toSorted((a, b) => a.localeCompare(b))).toEqual([
      'new_attempt',
      'next_turn',
    ]);
    const { variations } = await over(runId);
    expect(variations[0]).toMatchObject({ status: 'succeeded', additions: 3, prompts_waiting: 0 });
    expect(variations[0]?.attempts).toHaveLength(2);
    const first = both.findIndex(({ body }) => body.becomes === 'new_attempt') + 1;
    expect(await said(runId, 0, 1)).toEqual([String(first), String(3 - first)]);
  }, 60_000);

  it('after a failure goes on from what was left; a failure of its own leaves the earlier result what counts', async () => {
    const { submit, over, tell, run, patch, retry, said } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one\nexit 3');
    expect((await over(runId)).variations[0]).toMatchObject({ status: 'failed', end_reason: 'agent_exit' });
    await tell(runId, 0, 'see a.txt\nwrite a.txt=mended');
    expect((await over(runId)).variations[0]).toMatchObject({ status: 'succeeded', result_attempt: 1 });
    expect(await said(runId, 0, 1)).toEqual(['a.txt is "one\\n"']);

    await tell(runId, 0, 'write a.txt=broken\nexit 4');
    const failed = await over(runId);
    expect(failed.variations[0]).toMatchObject({ status: 'failed', end_reason: 'agent_exit', result_attempt: 1 });
    expect(failed.variations[0]?.message).toMatch(/The result of attempt 1 stays what can be chosen\.$/);
    expect(await patch(runId, 0)).toContain('+mended');

    // A retry is of what failed: the same prompt, from the same point.
    expect((await retry(runId, 0)).status).toBe(202);
    const again = await over(runId);
    expect(again.variations[0]?.attempts.at(-1)).toMatchObject({ attempt: 3, continues: { attempt: 1 } });
    expect((await run(runId)).variations[0]).toMatchObject({ status: 'failed', result_attempt: 1 });

    // What the failed one was told is told of it, although another was told the same.
    await tell(runId, 0, 'see a.txt\nrepeat');
    await over(runId);
    const [seen, record = ''] = await said(runId, 0, 4);
    expect(seen).toBe('a.txt is "broken\\n"');
    expect(record).toContain('> write a.txt=broken');
    expect(record).toContain('| This session ended: agent_exit');
  }, 60_000);
});

describe('a fork', () => {
  it('is a variation of its own, by another agent, from the other’s work and conversation', async () => {
    const { submit, over, fork, said, patch, run, tell } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one\nsay made by the first');
    await over(runId);
    const before = await patch(runId, 0);
    const made = await fork(runId, {
      from: 0,
      prompt: 'append a.txt=two\nrepeat',
      agent: 'other',
      strategy: 'smallest-change',
      limits: { timeout_seconds: 77 },
      budget: { max_tokens: 5000 },
    });
    expect([made.status, made.body]).toMatchObject([
      202,
      { variation_id: 1, forked_from: { variation_id: 0, attempt: 0 } },
    ]);
    const whole = await over(runId);
    expect(whole.counts).toMatchObject({ total: 2, succeeded: 2 });
    expect(whole.variations[1]).toMatchObject({
      agent: 'other',
      strategy: 'smallest-change',
      forked_from: { variation_id: 0, attempt: 0 },
      limits: { timeout_seconds: 77 },
      budget: { max_tokens: 5000 },
      additions: 2,
    });
    expect(whole.variations[1]?.attempts[0]?.continues).toEqual({ variation_id: 0, attempt: 0 });
    const [record = ''] = await said(runId, 1, 0);
    expect(record).toContain('| made by the first');
    expect(record).toContain('Strategy: smallest change.');
    expect(await patch(runId, 0)).toBe(before);

    // It goes on as any other does, and its strategy is not told again.
    await tell(runId, 1, 'repeat');
    await over(runId);
    expect((await said(runId, 1, 1))[0]?.split('Strategy: smallest change.')).toHaveLength(2);
    expect((await run(runId)).variations[1]?.attempts[1]?.continues).toEqual({ variation_id: 1, attempt: 0 });
  }, 60_000);

  it('that is cancelled leaves the first alone, and can be tried again', async () => {
    const { submit, over, fork, cancel, patch, retry, running, run } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one');
    await over(runId);
    const gate = makeGate();
    await fork(runId, { from: 0, prompt: `gate ${gate.path}\nappend a.txt=two` });
    await running(runId, 1);
    expect((await run(runId)).variations[0]?.status).toBe('succeeded');
    await cancel(runId, 1);
    const whole = await over(runId);
    expect(whole.variations.map(({ status }) => status)).toEqual(['succeeded', 'cancelled']);
    expect(await patch(runId, 0)).toContain('+one');
    gate.open();
    await retry(runId, 1);
    expect((await over(runId)).variations[1]).toMatchObject({ status: 'succeeded', additions: 2 });
  }, 60_000);

  it('of an attempt that is named starts from that, also while the variation goes on', async () => {
    const { submit, over, fork, tell, running } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one');
    await over(runId);
    const gate = makeGate();
    await tell(runId, 0, `write b.txt=two\ngate ${gate.path}\nexit 3`);
    await running(runId);
    expect((await fork(runId, { from: 0, attempt: 0, prompt: 'write c.txt=three' })).status).toBe(202);
    const none = await fork(runId, { from: 0, attempt: 1, prompt: 'x' });
    expect([none.body.code, none.body.hint]).toEqual(['nothing_to_continue', 'These did: 0.']);
    gate.open();
    const { variations } = await over(runId);
    expect(variations[1]).toMatchObject({ status: 'succeeded', files_changed: 2, forked_from: { attempt: 0 } });
    await fork(runId, { from: 0, prompt: 'write c.txt=three' });
    expect((await over(runId)).variations[2]).toMatchObject({ files_changed: 3, forked_from: { attempt: 1 } });
  }, 60_000);

  it('that is cancelled in the queue can be tried again, and is told the same', async () => {
    const { submit, over, fork, cancel, retry, events, said } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one', { max_parallel: 1 });
    await over(runId);
    const gate = makeGate();
    await fork(runId, { from: 0, prompt: `gate ${gate.path}` });
    await fork(runId, { from: 0, prompt: 'say told again\nwrite b.txt=two' });
    await cancel(runId, 2);
    expect((await events(runId)).filter(({ type }) => type === 'prompt_dropped')).toHaveLength(1);
    await retry(runId, 2);
    gate.open();
    const { variations } = await over(runId);
    expect(variations[2]).toMatchObject({ status: 'succeeded', files_changed: 2, prompts_waiting: 0 });
    expect(await said(runId, 2, 0)).toEqual(['told again']);
  }, 60_000);

  it('twice at once makes two', async () => {
    const { submit, over, fork } = steer(await startTestHouse(steered));
    const runId = await submit('write a.txt=one', { variations: 1 });
    await over(runId);
    const both = await Promise.all([1, 2].map((n) => fork(runId, { from: 0, prompt: `write b.txt=${n}` })));
    expect(both.map(({ body }) => body.variation_id).toSorted((a, b) => a - b)).toEqual([1, 2]);
    expect((await over(runId)).counts).toMatchObject({ succeeded: 3 });
  }, 60_000);
});

describe('what cannot be', () => {
  it('is refused in words: bad input, what is not there, what has nothing to go on from, a run whose time is up', async () => {
    const house = await startTestHouse(steered);
    const { submit, over, tell, fork, running, cancel, run } = steer(house);
    const gate = makeGate();
    const runId = await submit(`gate ${gate.path}\nwrite a.txt=x`, { max_parallel: 1, variations: 2 });
    await running(runId);
    const codes = async (asked: Promise<{ status: number; body: { code?: string } }>[]) =>
      (await Promise.all(asked)).map(({ status, body }) => `${status} ${body.code}`);
    expect(
      await codes([
        tell(runId, 0, ''),
        tell(runId, 0, ' \n'),
        tell(runId, 0, 7),
        tell(runId, 0, 'x'.repeat(1024 * 1024 + 1)),
        tell(runId, 9, 'x'),
        tell('zzzzzzzzzz', 0, 'x'),
        fork(runId, { from: 0 }),
        fork(runId, { from: 0, prompt: 'x', more: 1 }),
        fork(runId, { from: 9, prompt: 'x' }),
        fork(runId, { from: 0, prompt: 'x', agent: 'nobody' }),
        fork(runId, { from: 0, prompt: 'x', model: 'nowhere/x' }),
        fork(runId, { from: 0, prompt: 'x', strategy: 'none' }),
        fork(runId, { from: 0, prompt: 'x' }),
      ]),
    ).toEqual([
      '422 invalid_prompt',
      '422 invalid_prompt',
      '400 invalid_request',
      '422 invalid_prompt',
      '404 variation_not_found',
      '404 run_not_found',
      '400 invalid_request',
      '400 invalid_request',
      '404 variation_not_found',
      '422 unknown_agent',
      '422 unknown_model',
      '422 unknown_strategy',
      '409 not_finished',
    ]);
    // One that never began has nothing.
    await cancel(runId, 1);
    await until(async () => (await run(runId)).variations[1]?.status === 'cancelled');
    expect(await codes([tell(runId, 1, 'x'), fork(runId, { from: 1, prompt: 'x' })])).toEqual([
      '409 nothing_to_continue',
      '409 nothing_to_continue',
    ]);
    const many = await Promise.all(Array.from({ length: 12 }, (_, n) => tell(runId, 0, `say ${n}`)));
    expect(many.filter(({ status }) => status === 202)).toHaveLength(8);
    expect(
      new Set(many.filter(({ status }) => status !== 202).map(({ status, body }) => `${status} ${body.code}`)),
    ).toEqual(new Set(['429 too_many_requests']));
    gate.open();
    await over(runId);

    const short = await submit('write a.txt=x', { limits: { run_timeout_seconds: 5 } });
    await over(short);
    await until(async () => Date.parse((await run(short)).created_at) + 5000 < Date.now());
    expect(await codes([tell(short, 0, 'x'), fork(short, { from: 0, prompt: 'x' })])).toEqual([
      '409 run_time_up',
      '409 run_time_up',
    ]);
    await house.api('DELETE', `/api/v1/runs/${short}`);
    expect(await codes([tell(short, 0, 'x'), fork(short, { from: 0, prompt: 'x' })])).toEqual([
      '404 run_not_found',
      '404 run_not_found',
    ]);
  }, 60_000);

  it('a fork of a run that has as many variations as a run may have', async () => {
    const house = await startTestHouse(steered);
    const { submit, over, fork, running, cancel } = steer(house);
    const gate = makeGate();
    const runId = await submit(`write a.txt=one\ngate ${gate.path}`, { variations: 32, max_parallel: 1 });
    await running(runId);
    for (let v = 1; v < 32; v += 1) await cancel(runId, v);
    gate.open();
    await over(runId);
    const { status, body } = await fork(runId, { from: 0, prompt: 'x' });
    expect([status, body.code]).toEqual([422, 'invalid_variations']);
  }, 60_000);

  it('a choice stays what was chosen, and says so', async () => {
    const house = await startTestHouse(steered);
    const { submit, over, tell, run } = steer(house);
    const runId = await submit('write a.txt=one');
    await over(runId);
    await house.api('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 0 });
    const told = await tell(runId, 0, 'append a.txt=two');
    expect(told.body.notes).toEqual([expect.stringContaining('that choice stays') as string]);
    await over(runId);
    const ship = async (branch: string) =>
      (
        await house.api<{ files: number; commit: string }>('POST', `/api/v1/runs/${runId}/ship`, {
          kind: 'branch',
          branch,
        })
      ).body;
    const first = await ship('first');
    await house.api('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 0 });
    const second = await ship('second');
    expect(first.commit).not.toBe(second.commit);
    expect((await run(runId)).choice?.shipped).toHaveLength(2);
  }, 60_000);

  it('a prompt with an idempotency key is said once', async () => {
    const house = await startTestHouse(steered);
    const { submit, over, run } = steer(house);
    const runId = await submit('write a.txt=one');
    await over(runId);
    const ask = () =>
      fetch(`${house.url}/api/v1/runs/${runId}/variations/0/prompts`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': 'once' },
        body: JSON.stringify({ prompt: 'append a.txt=two' }),
      }).then((response) => response.json());
    const [a, b] = [await ask(), await ask()];
    expect(a).toEqual(b);
    await over(runId);
    expect((await run(runId)).variations[0]?.attempts).toHaveLength(2);
  }, 60_000);
});
