import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { createDelivery } from '../src/agent/pod/delivery.ts';
import { claimAttempt, createDoorClient } from '../src/agent/pod/door-client.ts';
import { fetchBase } from '../src/agent/pod/fetch-base.ts';
import { uploadResult } from '../src/agent/pod/result-upload.ts';
import { followServer } from '../src/agent/pod/server-link.ts';
import { openAttemptDoor } from './support/attempt-door.ts';
import { git } from './support/attempt.ts';
import { logged, seeded, writtenJournal } from './support/journal-lines.ts';
import { plainGit } from './support/repository.ts';
import { tempDir } from './support/temp.ts';
import { until } from './support/until.ts';

it('the recorder’s end and the server’s: claim, base, lines of which the log loses some, patch, stop, and the end', async () => {
  const { attempt, pods, url } = await openAttemptDoor();
  const { attemptId, token, base, intake, revoke } = await attempt();
  const said: string[] = [];
  const log = (words: string) => void said.push(words);
  const ending = new AbortController();
  const { signal } = ending;
  const door = createDoorClient({ url, token });
  onTestFinished(() => {
    ending.abort();
    door.close();
  });

  const claim = await claimAttempt(door, { pod_uid: 'pod-1' }, { patienceMs: 5000, signal, say: log });
  expect(claim).toMatchObject({ attempt: { attempt_id: attemptId, repository: { base } } });
  const second = await claimAttempt(door, { pod_uid: 'pod-2' }, { patienceMs: 5000, signal, say: log });
  expect(second).toMatchObject({ refused: expect.stringContaining('attempt_taken') as string });

  const root = tempDir();
  const gitDir = join(root, 'base.git');
  await fetchBase(git, { doorUrl: url, token, base, gitDir, signal, log });
  expect(plainGit(gitDir, ['cat-file', '-t', base])).toBe('commit');

  const { lines, bytes } = writtenJournal(attemptId, 5000);
  const journal = join(root, 'journal.ndjson');
  writeFileSync(journal, bytes);
  const delivery = createDelivery({ door, journal, attempt: attemptId, log, lagMs: 100 });
  const stops: string[] = [];
  const link = followServer({
    door,
    log,
    signal,
    onHave: (have) => delivery.heard(have),
    onStop: (reason) => void stops.push(reason),
    onPrompt: () => undefined,
    onOpen: () => delivery.knock(),
  });
  await until(() => intake.links === 1);
  intake.stop('cancelled');
  const next = seeded(4);
  let offset = 0;
  for (const [n, line] of lines.entries()) {
    delivery.onAppend(n + 1, offset);
    offset += line.length;
    delivery.onWritten(n + 1, offset);
    if (next(300) > 0) intake.offer(logged(line));
    if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const file = join(root, 'result.patch');
  writeFileSync(file, bytes.subarray(0, 700_000));
  const sha256 = createHash('sha256').update(bytes.subarray(0, 700_000)).digest('hex');
  await uploadResult({ door, file, sha256, bytes: 700_000, log, signal });
  expect(readFileSync(pods.patchFile(attemptId)).equals(bytes.subarray(0, 700_000))).toBe(true);

  expect(await delivery.drained(lines.length, signal)).toBe(true);
  expect(readFileSync(intake.journal).equals(bytes)).toBe(true);
  expect([stops, intake.ended, door.over.aborted]).toEqual([['cancelled'], true, false]);
  revoke();
  await pods.close(attemptId);
  await link;
  expect(door.over.aborted).toBe(true);
  delivery.close();
}, 60_000);
