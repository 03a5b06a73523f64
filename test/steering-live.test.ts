import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startTestHouse } from './support/house.ts';
import { prepareServer } from './support/server-process.ts';
import { makeGate, steer, steered } from './support/steering.ts';
import { until } from './support/until.ts';

/** Prompts to variations that are under way: none is lost, none is said twice, and their order is kept. */

describe('a prompt to a variation that is under way', () => {
  it('is the next turn of the same session, in the order in which they were said', async () => {
    const { submit, over, running, tell, said, events, run } = steer(await startTestHouse(steered));
    const gate = makeGate();
    const runId = await submit(`write a.txt=one\ngate ${gate.path}\nsay first`);
    await running(runId);
    const told = [];
    for (const n of [1, 2, 3]) told.push(await tell(runId, 0, `append a.txt=${n}\nsay turn ${n}`));
    expect(told.map(({ status, body }) => [status, body.becomes, body.waiting])).toEqual([
      [202, 'next_turn', 1],
      [202, 'next_turn', 2],
      [202, 'next_turn', 3],
    ]);
    expect((await run(runId)).variations[0]?.prompts_waiting).toBe(3);
    gate.open();
    const { variations } = await over(runId);
    expect(variations[0]).toMatchObject({ status: 'succeeded', additions: 4, prompts_waiting: 0 });
    expect(variations[0]?.attempts).toHaveLength(1);
    expect(await said(runId, 0, 0)).toEqual(['first', 'turn 1', 'turn 2', 'turn 3']);
    const log = await events(runId);
    const sent = log.filter(
      ({ data }) => data['kind'] === 'acp_sent' && JSON.stringify(data['message']).includes('"session/prompt"'),
    );
    expect(sent.map(({ data }) => data['attempt'])).toEqual([0, 0, 0, 0]);
    const taken = log.filter(({ data }) => JSON.stringify(data['message'] ?? '').includes('"prompt_taken"'));
    expect(taken).toHaveLength(3);
    expect(taken[0]?.id).toBeLessThan(sent[1]?.id ?? 0);

    // What was said in between is in the record, once.
    await tell(runId, 0, 'repeat');
    await over(runId);
    const [record = ''] = await said(runId, 0, 1);
    for (const each of ['> append a.txt=2', '| turn 2', '> say turn 3']) expect(record.split(each)).toHaveLength(2);
  }, 60_000);

  it('that ends before it is given goes on in a new attempt, or is given to nobody, and the log says which', async () => {
    const { submit, over, running, tell, said, events, cancel, retry } = steer(await startTestHouse(steered));
    const gate = makeGate();
    const runId = await submit(`write a.txt=one\ngate ${gate.path}`);
    await running(runId);
    // So many at once that some come while it ends.
    gate.open();
    const told = [];
    for (let n = 0; n < 40; n += 1) {
      told.push(await tell(runId, 0, `append a.txt=${n}`));
      if (told.at(-1)?.body.becomes === 'new_attempt') break;
    }
    const { variations } = await over(runId);
    const accepted = told.filter(({ status }) => status === 202).length;
    expect(told.filter(({ status }) => ![202, 429].includes(status))).toEqual([]);
    expect(variations[0]).toMatchObject({ status: 'succeeded', additions: 1 + accepted });

    const second = makeGate();
    const cancelled = await submit(`gate ${second.path}`);
    await running(cancelled);
    await tell(cancelled, 0, 'say never');
    await cancel(cancelled, 0);
    expect((await tell(cancelled, 0, 'say too late')).body.code).toMatch(/^not_finished$|^nothing_to_continue$|^$/);
    await over(cancelled);
    const dropped = (await events(cancelled)).filter(({ type }) => type === 'prompt_dropped');
    expect(dropped.map(({ data }) => [data['end_reason'], data['content']])).toEqual([
      ['cancelled', expect.stringContaining('A prompt was given to nobody') as string],
    ]);
    // A retry has all of it again.
    second.open();
    await retry(cancelled, 0);
    await over(cancelled);
    expect(await said(cancelled, 0, 1)).toEqual(['never']);
  }, 60_000);

  it('waits in the queue with a variation that was not started; a failed attempt’s retry is told all of it again', async () => {
    const { submit, over, tell, said } = steer(await startTestHouse(steered));
    const gate = makeGate();
    const runId = await submit(`gate ${gate.path}\nwrite a.txt=one`, { variations: 2, max_parallel: 1, retries: 1 });
    await tell(runId, 1, 'say told while it was queued\nexit 5');
    gate.open();
    const { variations } = await over(runId);
    expect(variations[1]?.attempts.map(({ end_reason: reason }) => reason)).toEqual(['agent_exit', 'agent_exit']);
    for (const attempt of [0, 1]) expect(await said(runId, 1, attempt)).toEqual(['told while it was queued']);
  }, 60_000);
});

describe('a server that is killed', () => {
  it('between taking a prompt and handing it over: the next hands it over, once', async () => {
    const server = prepareServer(steered);
    const { submit, over, running, tell, said } = steer(server);
    await server.start();
    const gate = makeGate();
    const runId = await submit(`write a.txt=one\ngate ${gate.path}\nsay first`);
    await running(runId);
    expect((await tell(runId, 0, 'append a.txt=two\nsay second')).status).toBe(202);
    await server.kill();
    const handed = promptFiles(server.dataDir);
    expect(handed).toHaveLength(1);
    for (const file of handed) rmSync(file);
    await server.start();
    await until(() => promptFiles(server.dataDir).length === 1);
    await server.kill();
    await server.start();
    gate.open();
    const { variations } = await over(runId);
    expect(variations[0]).toMatchObject({ status: 'succeeded', additions: 2, prompts_waiting: 0 });
    expect(variations[0]?.attempts).toHaveLength(1);
    expect(await said(runId, 0, 0)).toEqual(['first', 'second']);
  }, 60_000);

  it('while the attempt ends without the prompt, or before a new attempt was started: it is not lost', async () => {
    const server = prepareServer(steered);
    const { submit, over, running, tell, said } = steer(server);
    await server.start();
    const gate = makeGate();
    const runId = await submit(`write a.txt=one\ngate ${gate.path}`);
    await running(runId);
    await tell(runId, 0, 'append a.txt=two\nsay second');
    await server.kill();
    for (const file of promptFiles(server.dataDir)) rmSync(file);
    gate.open();
    const [folder = ''] = readdirSync(join(server.dataDir, 'attempts'));
    const journal = join(server.dataDir, 'attempts', folder, 'journal.ndjson');
    await until(() => readFileSync(journal, 'utf8').includes('"type":"eof"'));
    await server.start();
    const { variations } = await over(runId);
    expect(variations[0]).toMatchObject({ status: 'succeeded', additions: 2 });
    expect(variations[0]?.attempts.map(({ continues }) => continues?.attempt ?? null)).toEqual([null, 0]);
    expect(await said(runId, 0, 1)).toEqual(['second']);

    expect((await tell(runId, 0, 'append a.txt=three')).body.becomes).toBe('new_attempt');
    await server.kill();
    await server.start();
    expect((await over(runId)).variations[0]).toMatchObject({ status: 'succeeded', additions: 3 });
  }, 60_000);
});

/** What recorders were handed and have not looked at, or have. */
function promptFiles(dataDir: string): string[] {
  const attempts = join(dataDir, 'attempts');
  return readdirSync(attempts).flatMap((name) => {
    const folder = join(attempts, name, 'prompts');
    return existsSync(folder) ? readdirSync(folder).map((file) => join(folder, file)) : [];
  });
}

it('the built-in agent takes a second prompt in its session, and goes on from a record in another', async () => {
  const script = `
models:
  worker:
    conversations:
      - when: third thing
        turns:
          - { text: "I read the record.", tools: [{ name: write, input: { path: c.txt, content: "c\\n" } }] }
          - { text: "Third done." }
      - turns:
          - { text: "First.", first_delay_ms: 1500, tools: [{ name: write, input: { path: a.txt, content: "a\\n" } }] }
          - { text: "First done." }
          - first_of:
              - { when: second thing, text: "Second.", tools: [{ name: write, input: { path: b.txt, content: "b\\n" } }] }
              - { text: "I was not told." }
          - { text: "Second done." }
`;
  const house = await startTestHouse({ script, settings: { default_model: 'scripted/worker' } });
  const { submit, over, tell, said, running, patch } = steer(house);
  const runId = await submit('Do the first thing.');
  await running(runId);
  expect((await tell(runId, 0, 'Now the second thing.')).body.becomes).toBe('next_turn');
  const first = await over(runId);
  expect(first.variations[0]).toMatchObject({ status: 'succeeded', files_changed: 2 });
  expect(first.variations[0]?.attempts).toHaveLength(1);
  expect((await said(runId, 0, 0)).join('')).toBe('First.First done.Second.Second done.');
  await tell(runId, 0, 'And the third thing.');
  expect((await over(runId)).variations[0]).toMatchObject({ status: 'succeeded', files_changed: 3 });
  expect(await patch(runId, 0)).toContain('+c');
}, 60_000);

it('a fork of a run under way has its own budget and the run’s: neither is passed, and nothing new is started on one that is used up', async () => {
  const script = `
models:
  worker:
    price: { input: 1000000, output: 1000000, max_output_tokens: 1000 }
    conversations:
      - when: the fork
        turns:
${Array.from({ length: 9 }, (_, n) => `          - { text: "step ${n}", tools: [{ name: write, input: { path: "f${n}.txt", content: "x" } }], usage: { input: 900, output: 100 } }`).join('\n')}
          - { text: Done., usage: { input: 900, output: 100 } }
      - turns:
          - { text: "First.", tools: [{ name: write, input: { path: a.txt, content: "a\\n" } }], usage: { input: 900, output: 100 } }
          - { text: Done., usage: { input: 900, output: 100 } }
`;
  const gate = makeGate();
  const { agents } = steered.settings;
  const house = await startTestHouse({ script, settings: { default_model: 'scripted/worker', agents } });
  const { submit, over, tell, fork, run, running } = steer(house);
  // The second keeps the run under way, so that its accounts stay open.
  const runId = await submit('Do it.', {
    variations: [{}, { agent: 'steered' }],
    budget: { max_tokens: 100_000 },
  });
  await running(runId, 1);
  await tell(runId, 1, `gate ${gate.path}`);
  await until(async () => (await run(runId)).variations[0]?.status === 'succeeded');
  expect((await fork(runId, { from: 0, prompt: 'This is the fork.', budget: { max_tokens: 3000 } })).status).toBe(202);
  await until(async () => (await run(runId)).variations[2]?.ended_at !== null);
  const forked = (await run(runId)).variations[2];
  expect(forked).toMatchObject({ status: 'failed', end_reason: 'budget_exhausted', budget: { max_tokens: 3000 } });
  expect(forked?.files_changed).toBeGreaterThan(1);
  expect((await tell(runId, 2, 'More.')).body).toMatchObject({ code: 'budget_exhausted', status: 402 });
  gate.open();
  await over(runId);
}, 60_000);
