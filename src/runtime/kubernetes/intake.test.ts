import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { appendFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { heartbeat, logged, seeded, writtenJournal } from '../../../test/support/journal-lines.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';
import type { LinkMessage } from '../../contract/attempt-door.ts';
import { createDecoder, encodeEnvelope } from '../../contract/envelope-codec.ts';
import { followJournal } from '../follower.ts';
import type { Intake, Pods } from '../pods.ts';
import { createPods } from './pods.ts';

/** The server's end of an attempt in a pod, with real files. */

const attempt = '7b1a6c1e-0a52-4a4e-9d3e-2f6f0c4f9a10';

function podsIn(directory = tempDir()): { directory: string; pods: Pods; openAgain(): Promise<Intake> } {
  let pods = createPods({ directory });
  onTestFinished(() => pods.release());
  return {
    directory,
    get pods() {
      return pods;
    },
    openAgain: async () => {
      await pods.release();
      pods = createPods({ directory });
      return pods.open(attempt, null);
    },
  };
}

async function opened() {
  const scene = podsIn();
  return { ...scene, intake: await scene.pods.open(attempt, null), pods: scene.pods };
}

function linked(intake: Intake): { heard: LinkMessage[]; ended: () => boolean } {
  const heard: LinkMessage[] = [];
  let ended = false;
  intake.link(
    (message) => void heard.push(message),
    () => {
      ended = true;
    },
  );
  return { heard, ended: () => ended };
}

describe('lines', () => {
  const { lines, bytes } = writtenJournal(attempt, 40);
  const journalOf = (intake: Intake) => readFileSync(intake.journal);

  it('by the log alone, by upload alone, and by both, twice: each is there once and in order', async () => {
    for (const way of ['log', 'upload', 'both'] as const) {
      const { intake } = await opened();
      for (const line of lines) {
        if (way !== 'upload') expect(intake.offer(logged(line))).toBe(true);
        if (way !== 'log') await intake.lines(Buffer.concat([line, line]));
      }
      await until(() => intake.have === lines.length);
      expect(journalOf(intake)).toEqual(bytes);
      expect([intake.seen, intake.ended]).toEqual([lines.length, true]);
    }
  });

  it('ones that came too early wait beside the journal, are asked for once, and are taken from there', async () => {
    const { intake, directory } = await opened();
    const { heard } = linked(intake);
    expect(heard).toEqual([{ have: 0 }]);
    for (const line of lines.slice(0, 3)) intake.offer(logged(line));
    for (const line of lines.slice(10).toReversed()) intake.offer(logged(line));
    await until(() => heard.length > 1);
    expect(heard.at(-1)).toEqual({ have: 3 });
    expect([intake.have, intake.seen, intake.ended]).toEqual([3, lines.length, false]);
    expect(await intake.lines(Buffer.concat(lines.slice(2, 9)))).toBe(9);
    expect(await intake.lines(lines[9]!)).toBe(lines.length);
    expect(journalOf(intake)).toEqual(bytes);
    expect(readFileSync(join(directory, attempt, 'ahead.ndjson')).length).toBe(0);
    await until(() => heard.at(-1)?.have === lines.length);
    // Far fewer words than lines.
    expect(heard.length).toBeLessThan(8);
  });

  it('a heartbeat is no line, but shows what is missing; nobody is asked again while nothing changes', async () => {
    const { intake } = await opened();
    const { heard } = linked(intake);
    expect(intake.heardAt).not.toBeNull();
    expect(intake.offer(heartbeat(attempt, 5))).toBe(true);
    await until(() => heard.length === 2);
    expect([heard[1], intake.have, intake.seen]).toEqual([{ have: 0 }, 0, 5]);
    for (let n = 0; n < 50; n += 1) intake.offer(heartbeat(attempt, 5 + n));
    await intake.lines(lines[0]!);
    await intake.lines(lines[1]!);
    expect(heard.filter(({ have }) => have === 0)).toHaveLength(2);
    expect(journalOf(intake)).toEqual(Buffer.concat(lines.slice(0, 2)));
  });

  it('what is no envelope of this attempt is refused, by either way, and changes nothing', async () => {
    const { intake } = await opened();
    const good = logged(lines[0]).toString();
    const other = randomUUID();
    for (const line of [
      '',
      'unable to retrieve container logs for containerd://abc',
      good.slice(20),
      good.slice(0, -1),
      `${good}\r`,
      `${good} `,
      good.replace(attempt, other),
      good.replace('"seq":1', '"seq":0'),
      good.replace('"data":{', '"data":{\n'),
      `${good}\n${good}`,
      good.replace('"text":"', `"text":"${'x'.repeat(8000)}`),
    ])
      expect(intake.offer(Buffer.from(line))).toBe(false);
    expect(intake.offer(Buffer.from([0xff, 0xfe]))).toBe(false);
    await expect(intake.lines(Buffer.from(`${good.replace(attempt, other)}\n`))).rejects.toMatchObject({
      code: 'invalid_request',
    });
    expect([intake.have, intake.seen]).toEqual([0, 0]);
    // The good ones beside a bad one are taken; a rest without its end is not.
    const mixed = Buffer.concat([lines[0]!, Buffer.from('garbage\n'), lines[1]!, lines[2]!.subarray(0, -1)]);
    await expect(intake.lines(mixed)).rejects.toMatchObject({ code: 'invalid_request' });
    expect(intake.have).toBe(2);
  });

  it('nothing stands behind the last word, and one that is not valid is none', async () => {
    const { intake } = await opened();
    const ts = '2026-11-28T10:00:00.000Z';
    const [fake] = encodeEnvelope({ attempt, seq: 1, ts, type: 'eof', data: '{"lastSeq":1}' });
    await intake.lines(fake!);
    expect([intake.have, intake.ended]).toEqual([1, false]);
    await intake.lines(Buffer.concat(lines.slice(1)));
    expect(intake.ended).toBe(true);
    const [late] = encodeEnvelope({ attempt, seq: lines.length + 1, ts, type: 'note', data: '{}' });
    expect(intake.offer(logged(late))).toBe(false);
    await expect(intake.lines(late!)).rejects.toMatchObject({ code: 'invalid_request' });
    expect(intake.have).toBe(lines.length);
  });

  it('given up: what waits follows the gap, so that the decoder names it', async () => {
    const { intake, pods } = await opened();
    await intake.lines(Buffer.concat(lines.slice(0, 4)));
    for (const line of [...lines.slice(30), ...lines.slice(10, 20)]) intake.offer(logged(line));
    await intake.giveUp();
    await intake.giveUp();
    expect(intake.have).toBe(4);
    const { gaps, envelopes } = createDecoder(attempt).push(journalOf(intake));
    expect(gaps.map(({ from_seq, to_seq }) => [from_seq, to_seq])).toContainEqual([5, 10]);
    expect(envelopes.at(-1)?.type).toBe('eof');
    await expect(intake.lines(lines[5]!)).rejects.toMatchObject({ code: 'forbidden' });
    await pods.close(attempt);
  });

  it('are followed as a local attempt’s are, while they come', async () => {
    const { intake } = await opened();
    const got: number[] = [];
    const end = followJournal({
      attemptId: attempt,
      journal: intake.journal,
      lastSeq: 0,
      isAlive: () => true,
      onBatch: async ({ envelopes }) => void got.push(...envelopes.map(({ seq }) => seq)),
      onTransport: (problem) => expect.unreachable(problem),
      signal: new AbortController().signal,
    });
    for (const line of lines) {
      intake.offer(logged(line));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await end).toMatchObject({ kind: 'eof', complete: true });
    expect(got).toEqual(got.toSorted((a, b) => a - b));
  });
});

describe('after a restart', () => {
  const { lines, bytes } = writtenJournal(attempt, 600, 7);

  it('all is as it was: have, seen, who claimed; half a line is removed and comes again', async () => {
    const scene = podsIn();
    let intake = await scene.pods.open(attempt, null);
    expect(await intake.claim('pod-a')).toBe(true);
    await intake.lines(Buffer.concat(lines.slice(0, 300)));
    for (const line of lines.slice(400)) intake.offer(logged(line));
    await intake.lines(Buffer.alloc(0));
    await scene.pods.release();
    await appendFile(intake.journal, lines[300]!.subarray(0, 50));
    await appendFile(join(scene.directory, attempt, 'ahead.ndjson'), lines[399]!.subarray(0, 30));
    intake = await scene.openAgain();
    expect([intake.have, intake.seen, intake.podUid, intake.ended]).toEqual([300, lines.length, 'pod-a', false]);
    expect([await intake.claim('pod-b'), await intake.claim('pod-a')]).toEqual([false, true]);
    expect(readFileSync(intake.journal)).toEqual(Buffer.concat(lines.slice(0, 300)));
    const { heard } = linked(intake);
    expect(heard).toEqual([{ have: 300 }]);
    await intake.lines(Buffer.concat(lines.slice(300, 400)));
    await until(() => intake.ended);
    expect(readFileSync(intake.journal)).toEqual(bytes);
    expect(await scene.openAgain()).toMatchObject({ have: lines.length, ended: true });
  });

  it.each([
    ['zeros', Buffer.alloc(40_000)],
    ['half of another file', Buffer.from(`${'z'.repeat(30_000)}\nzz\n`)],
  ])('a journal that ends in %s, as after a power cut, is good up to there', async (_what, damage) => {
    const scene = podsIn();
    const intake = await scene.pods.open(attempt, null);
    await intake.lines(Buffer.concat(lines.slice(0, 200)));
    await scene.pods.release();
    await appendFile(intake.journal, damage);
    const again = await scene.openAgain();
    expect(again.have).toBe(200);
    await again.lines(Buffer.concat(lines.slice(200)));
    expect(readFileSync(again.journal)).toEqual(bytes);
  });

  it('a journal of 64 MB is found again without being read', async () => {
    const scene = podsIn();
    await mkdir(join(scene.directory, attempt), { recursive: true });
    const filler = Buffer.alloc(64 * 1024 * 1024, 'x');
    filler[filler.length - 1] = 10;
    const journal = join(scene.directory, attempt, 'journal.ndjson');
    // Not one good line but the last: whoever read all of it would stop at the first.
    writeFileSync(journal, Buffer.concat([filler, lines[41]!]));
    const before = process.memoryUsage().arrayBuffers;
    const intake = await scene.openAgain();
    expect(intake.have).toBe(42);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
  });
});

describe('claims, links and the end', () => {
  const { lines } = writtenJournal(attempt, 10);

  it('of many pods that ask at once, one has the attempt', async () => {
    const { intake } = await opened();
    const answers = await Promise.all(['a', 'b', 'c', 'a'].map((pod) => intake.claim(pod)));
    expect(answers).toEqual([true, false, false, true]);
    const known = podsIn();
    const found = await known.pods.open(attempt, 'pod-of-old');
    expect(await found.claim('another')).toBe(false);
  });

  it('the reason to stop is told at once, now and to each later link, and the first stands', async () => {
    const { intake } = await opened();
    const first = linked(intake);
    intake.stop('cancelled');
    intake.stop('timeout');
    expect(first.heard).toEqual([{ have: 0 }, { stop: 'cancelled' }]);
    const second = linked(intake);
    expect(second.heard).toEqual([{ have: 0, stop: 'cancelled' }]);
    expect([first.ended(), second.ended(), intake.links]).toEqual([true, false, 1]);
  });

  it('a listener that fails is dropped and harms nobody', async () => {
    const { intake } = await opened();
    let ended = 0;
    intake.link(
      () => {
        throw new Error('gone');
      },
      () => {
        ended += 1;
      },
    );
    expect([ended, intake.links]).toEqual([1, 0]);
    expect(await intake.lines(lines[0]!)).toBe(1);
  });

  it('closing writes what came, tells it before a link ends, and refuses the rest', async () => {
    const { intake, pods, directory } = await opened();
    const link = linked(intake);
    for (const line of lines) intake.offer(logged(line));
    await pods.close(attempt);
    expect(link.heard.at(-1)).toEqual({ have: lines.length });
    expect([link.ended(), intake.over.aborted, pods.get(attempt)]).toEqual([true, true, undefined]);
    await expect(intake.lines(lines[0]!)).rejects.toMatchObject({ code: 'forbidden' });
    expect(linked(intake).ended()).toBe(true);
    expect(intake.offer(logged(lines[0]))).toBe(true);
    expect(await pods.list()).toEqual([attempt]);
    // Open again at once: the files are those of the one that was closed.
    const closing = pods.close(attempt);
    expect(await pods.open(attempt, null)).toMatchObject({ have: lines.length, ended: true });
    await closing;
    await pods.remove(attempt);
    expect([existsSync(join(directory, attempt)), await pods.list()]).toEqual([false, []]);
    await expect(pods.open('../../etc', null)).rejects.toMatchObject({ code: 'internal' });
  });
});

it('twenty thousand lines, the log losing, repeating and shuffling, uploads overlapping, restarts between: the journal is the original', async () => {
  const next = seeded(20261128);
  const { lines, bytes } = writtenJournal(attempt, 20_000, 3);
  const scene = podsIn();
  let intake = await scene.pods.open(attempt, null);
  let restarts = 0;
  for (let at = 0; !intake.ended;) {
    // The log: a stretch from about here, some lost, some twice, some swapped.
    const stretch = lines.slice(Math.max(0, at - next(200)), at + 100 + next(900)).filter(() => next(40) > 0);
    for (let n = 0; n < 20; n += 1) {
      const [one, two] = [next(stretch.length), next(stretch.length)];
      const [a, b] = [stretch[one], stretch[two]];
      if (a !== undefined && b !== undefined) [stretch[one], stretch[two]] = [b, a];
      if (a !== undefined && next(3) === 0) stretch.splice(two, 0, a);
    }
    for (const [index, line] of stretch.entries()) {
      expect(intake.offer(logged(line))).toBe(true);
      if (index % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    at = Math.min(lines.length, at + 100 + next(900));
    if (next(3) === 0) {
      // The recorder fills up from what it was told, and a little before it, in pieces.
      for (let from = Math.max(0, intake.have - next(5)); from < at && intake.have < at;) {
        const to = from + 1 + next(150);
        const have = intake.have;
        expect(await intake.lines(Buffer.concat(lines.slice(from, to)))).toBeGreaterThanOrEqual(have);
        from = next(5) === 0 ? Math.max(0, to - 10) : to;
      }
    }
    if (next(12) === 0) {
      const { have } = intake;
      intake = await scene.openAgain();
      restarts += 1;
      expect(intake.have).toBeGreaterThanOrEqual(have);
    }
  }
  expect(restarts).toBeGreaterThan(1);
  expect(readFileSync(intake.journal).equals(bytes)).toBe(true);
});
