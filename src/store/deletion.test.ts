import { expect, test } from 'vitest';
import { outputEvent, raw, runRow, testStore } from '../../test/support/store.ts';
import type { Store } from './store.ts';

async function addRun(store: Store, id: string, events: number): Promise<number> {
  return store
    .write({
      within: (tx) => {
        const { db } = store;
        const run = tx.run(db.insertInto('runs').values(runRow(id))).lastInsertRowid;
        tx.run(
          db.insertInto('variations').values({
            run,
            idx: 0,
            agent: 'a',
            model: 'm',
            strategy: null,
            instruction: null,
            dialect: 'openai',
            limits: '{}',
            status: 'queued',
            end_reason: null,
            message: null,
            queued_at: '',
            started_at: null,
            ended_at: null,
            stop_reason: null,
            retries_left: 0,
            result_attempt: null,
          }),
        );
        const attempt = tx.run(
          db.insertInto('attempts').values({
            id: `attempt of ${id}`,
            run,
            variation: 0,
            attempt: 0,
            status: 'starting',
            end_reason: null,
            message: null,
            isolation: '',
            token_sha256: id,
            started_at: '',
            ended_at: null,
            last_seq: 0,
            log_complete: null,
            gaps: '[]',
            stated_result: null,
            eof: null,
            handle: null,
            keep: 0,
          }),
        ).lastInsertRowid;
        const result = { attempt, tree: 't', patch_bytes: 0, files: 0, additions: 0, deletions: 0, data: '{}' };
        tx.run(db.insertInto('results').values(result));
        tx.run(
          db.insertInto('model_calls').values({
            run,
            variation: 0,
            attempt,
            at: '',
            provider: 'p',
            model: 'm',
            dialect: 'openai',
            status: 200,
            input_tokens: null,
            output_tokens: null,
            cache_read_tokens: null,
            cache_write_tokens: null,
            cost_microdollars: null,
            duration_ms: 1.5,
            error: null,
            reserved_microdollars: null,
            reserved_tokens: null,
            charged_microdollars: 0,
            charged_tokens: 0,
            settled: null,
          }),
        );
        tx.run(db.insertInto('choices').values({ run, variation: 0, attempt, reason: null, chosen_at: '' }));
        tx.run(
          db
            .insertInto('shipments')
            .values({ run, variation: 0, kind: 'branch', target: 't', commit_id: null, at: '' }),
        );
        return run;
      },
    })
    .then(async (run) => {
      await store.write({
        events: Array.from({ length: events }, (_, seq) => outputEvent({ run, attempt: run, seq })),
      });
      return run;
    });
}

const counts = (store: Store) =>
  store.query(
    raw(`SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM variations) AS variations,
      (SELECT count(*) FROM attempts) AS attempts, (SELECT count(*) FROM model_calls) AS calls, (SELECT count(*) FROM choices) AS choices,
      (SELECT count(*) FROM shipments) AS shipments`),
  )[0];

test('a run goes with all that belongs to it, in portions, and its neighbours stay', async () => {
  const store = testStore();
  await addRun(store, 'before', 10);
  const run = await addRun(store, 'gone', 4500);
  const after = await addRun(store, 'after', 10);
  const deletion = store.deleteRun(run);
  // What comes while it is being deleted goes too.
  await store.write({ events: [outputEvent({ run })] });
  await deletion;
  expect(counts(store)).toEqual({
    events: 20,
    runs: 2,
    variations: 2,
    attempts: 2,
    calls: 2,
    choices: 2,
    shipments: 2,
  });
  expect(store.range(run)).toBeNull();
  expect(store.readFrames(after, { after: 0, limit: 100 }).count).toBe(10);
  await store.deleteRun(run);
  expect(counts(store)).toMatchObject({ events: 20, runs: 2 });
});

test('a deletion that was interrupted leaves the run to be deleted again', async () => {
  const store = testStore();
  const run = await addRun(store, 'half', 4500);
  const deletion = store.deleteRun(run);
  const closed = store.close();
  await expect(deletion).rejects.toMatchObject({ code: 'shutting_down' });
  await closed;
  const again = testStore({ path: store.path });
  expect(counts(again)).toMatchObject({ events: 2500, runs: 1 });
  await again.deleteRun(run);
  expect(counts(again)).toMatchObject({ events: 0, runs: 0, attempts: 0 });
});
