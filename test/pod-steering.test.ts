import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { claimAttempt, createDoorClient } from '../src/agent/pod/door-client.ts';
import { fetchWork } from '../src/agent/pod/fetch-work.ts';
import { createPodPrompts } from '../src/agent/pod/pod-prompts.ts';
import { followServer } from '../src/agent/pod/server-link.ts';
import { patchPath } from '../src/flow/finish.ts';
import { addPrompt, markTaken } from '../src/flow/steering/prompts.ts';
import { openAttemptDoor } from './support/attempt-door.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

it('the recorder’s end and the server’s: a task with its record, the patch by its hash, prompts over the link', async () => {
  const { attempt, url, store, dataDir } = await openAttemptDoor();
  const mine = await attempt();
  const { db } = store;
  const patch = Buffer.from(`not looked at here: ${'ü'.repeat(300_000)}`);
  const sha256 = createHash('sha256').update(patch).digest('hex');
  const earlierId = randomUUID();
  const file = patchPath({ config: { data_dir: dataDir } }, earlierId);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, patch);
  const tree = 'b'.repeat(40);
  const rowOf = (no: number, id: string, n: number, continues: number | null) => ({
    ...{ no, id, run: mine.runNo, variation: 0, attempt: n, continues, isolation: 'pod', gaps: '[]', keep: 0 as const },
    ...{ status: n === 0 ? ('succeeded' as const) : ('starting' as const), token_sha256: id, last_seq: 0 },
    started_at: '2026-01-01T00:00:00.000Z',
  });
  const nos = await store.write({
    within: (tx) => {
      tx.run(db.insertInto('attempts').values(rowOf(900, earlierId, 0, null)));
      tx.run(db.insertInto('attempts').values(rowOf(mine.attemptNo, mine.attemptId, 1, 900)));
      const data = JSON.stringify({
        ...{
          base: mine.base,
          tree,
          patch_sha256: sha256,
          patch_bytes: patch.length,
          files: [],
          additions: 1,
          deletions: 0,
        },
        not_carried: [{ path: 'nested', what: 'a repository' }],
      });
      const row = { attempt: 900, tree, patch_bytes: patch.length, files: 1, additions: 1, deletions: 0, data };
      tx.run(db.insertInto('results').values(row));
      const said = { run: mine.runNo, variation: 0, origin: 900 };
      const task = addPrompt(db, tx, { ...said, text: 'Go on with it.' });
      markTaken(db, tx, { no: task, run: mine.runNo, variation: 0 });
      tx.run(db.updateTable('attempts').set({ prompt: task }).where('no', '=', mine.attemptNo));
      return ['next', 'n'.repeat(1024 * 1024)].map((text) => addPrompt(db, tx, { ...said, text }));
    },
  });
  const log: string[] = [];
  const ending = new AbortController();
  const { signal } = ending;
  const door = createDoorClient({ url, token: mine.token });
  onTestFinished(() => {
    ending.abort();
    door.close();
  });

  const claimed = await claimAttempt(door, { pod_uid: 'pod-1' }, { patienceMs: 5000, signal, say: () => undefined });
  if (!('attempt' in claimed)) throw new Error(claimed.refused);
  const { prompt, work } = claimed.attempt;
  expect(prompt).toContain('[the user asked]\n> Fix „it“.\n> \n> Be brief.');
  expect(prompt).toContain('Not carried over from the earlier work tree: "nested" (a repository).');
  expect(prompt.endsWith('What the user wants now:\n\nGo on with it.')).toBe(true);
  expect(work).toEqual({ sha256, bytes: patch.length, tree, file: null });
  // The same whenever it is asked for.
  const again = await claimAttempt(door, { pod_uid: 'pod-1' }, { patienceMs: 5000, signal, say: () => undefined });
  expect(again).toEqual(claimed);

  const target = join(tempDir(), 'earlier.patch');
  if (work === null) throw new Error('no work');
  await fetchWork({ door, work, file: target, log: (words) => log.push(words), signal });
  expect(readFileSync(target).equals(patch)).toBe(true);
  const other = await attempt();
  expect((await other.ask(`/attempt/work/${sha256}`)).status).toBe(404);
  expect((await mine.ask(`/attempt/work/${'0'.repeat(64)}`)).status).toBe(404);
  expect((await mine.ask('/attempt/prompts?after=x')).status).toBe(400);
  expect((await mine.ask('/attempt/prompts?after=0', { method: 'POST' })).status).toBe(405);
  expect(await (await other.ask('/attempt/prompts?after=0')).json()).toEqual({ prompt: null });

  const prompts = createPodPrompts({ door, log: (words) => log.push(words) });
  // Nobody said that something waits.
  expect(await prompts.next(0, signal)).toBeNull();
  const heard: number[] = [];
  const link = followServer({
    ...{
      door,
      signal,
      onHave: () => undefined,
      onStop: () => undefined,
      onOpen: () => undefined,
      log: () => undefined,
    },
    onPrompt: (no) => {
      heard.push(no);
      prompts.heard(no);
    },
  });
  await until(() => mine.intake.links === 1);
  for (const no of nos) mine.intake.prompt(no);
  await until(() => heard.length === 2);
  const first = await prompts.next(0, signal);
  expect(first).toEqual({ no: nos[0], text: 'next' });
  const second = await prompts.next(first?.no ?? 0, signal);
  expect([second?.no, second?.text.length]).toEqual([nos[1], 1024 * 1024]);
  expect(await prompts.next(second?.no ?? 0, signal)).toBeNull();
  expect(log).toEqual([expect.stringContaining('Prompts wait'), expect.stringContaining('Prompts wait')]);
  ending.abort();
  await link;
}, 60_000);
