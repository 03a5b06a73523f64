import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { expect, it, onTestFinished } from 'vitest';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';
import { createPods } from './pods.ts';

/** A patch on its way in: resumable, named by its hash, bounded, and whole or not there. */

const attempt = '7b1a6c1e-0a52-4a4e-9d3e-2f6f0c4f9a10';
const patch = randomBytes(3_000_000);
const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function opened(maxPatchBytes = 4_000_000) {
  const directory = tempDir();
  const pods = createPods({ directory, maxPatchBytes });
  onTestFinished(() => pods.release());
  const intake = await pods.open(attempt, null);
  const put = (bytes: Buffer, offset: number, total: number, name = sha(patch)) =>
    intake.takeResult(name, { offset, bytes: total }, Readable.from([bytes]));
  const files = () => readdirSync(join(directory, attempt)).toSorted();
  return { intake, pods, put, files, directory };
}

it('in one piece, in many, and again when it is there', async () => {
  const { intake, pods, put } = await opened();
  const name = sha(patch);
  expect(await intake.resultState(name)).toEqual({ received: 0, complete: false });
  for (let at = 0; at < patch.length; at += 700_000) {
    const to = Math.min(at + 700_000, patch.length);
    const complete = to === patch.length;
    expect(await put(patch.subarray(at, to), at, patch.length)).toEqual({ received: to, complete });
  }
  const whole = { received: patch.length, complete: true };
  expect(await intake.resultState(name)).toEqual(whole);
  expect(await put(patch, 0, patch.length)).toEqual(whole);
  expect(readFileSync(pods.patchFile(attempt)).equals(patch)).toBe(true);
  // Another result takes its place, and nothing of the first stays.
  const empty = Buffer.alloc(0);
  expect(await put(empty, 0, 0, sha(empty))).toEqual({ received: 0, complete: true });
  expect(readFileSync(pods.patchFile(attempt))).toEqual(empty);
  expect(await intake.resultState(name)).toEqual({ received: 0, complete: false });
});

it('goes on where it stopped, also after a restart, and says where that is', async () => {
  const { put, pods, directory } = await opened();
  await put(patch.subarray(0, 1_000_000), 0, patch.length);
  await expect(put(patch, 0, patch.length)).rejects.toMatchObject({
    code: 'upload_offset',
    details: { received: 1_000_000 },
  });
  await pods.release();
  const again = createPods({ directory });
  onTestFinished(() => again.release());
  const intake = await again.open(attempt, null);
  expect(await intake.resultState(sha(patch))).toEqual({ received: 1_000_000, complete: false });
  const rest = Readable.from([patch.subarray(1_000_000)]);
  expect(await intake.takeResult(sha(patch), { offset: 1_000_000, bytes: patch.length }, rest)).toMatchObject({
    complete: true,
  });
  await again.release();
  const third = createPods({ directory });
  onTestFinished(() => third.release());
  // Known by what it holds, not by what was noted of it.
  expect(await (await third.open(attempt, null)).resultState(sha(patch))).toMatchObject({ complete: true });
});

it('one that was altered, is too long or too large never becomes a result', async () => {
  const { put, files, intake } = await opened();
  const altered = Buffer.from(patch);
  altered[5] = (altered[5] ?? 0) ^ 1;
  await expect(put(altered, 0, patch.length)).rejects.toMatchObject({ code: 'upload_damaged' });
  expect(await intake.resultState(sha(patch))).toEqual({ received: 0, complete: false });
  await expect(put(Buffer.concat([patch, patch]), 0, patch.length)).rejects.toMatchObject({ code: 'upload_damaged' });
  await put(patch.subarray(0, 100), 0, patch.length);
  await expect(put(patch.subarray(100), 100, 50)).rejects.toMatchObject({ code: 'upload_damaged' });
  await expect(put(patch, 0, 4_000_001)).rejects.toMatchObject({ code: 'payload_too_large' });
  expect(files()).toEqual(['journal.ndjson', 'upload']);
  expect(await put(patch, 0, patch.length)).toMatchObject({ complete: true });
});

it('a later upload cuts the earlier, and goes on from what came of it', async () => {
  const { intake, put } = await opened();
  const name = sha(patch);
  const slow = new PassThrough();
  const first = intake.takeResult(name, { offset: 0, bytes: patch.length }, slow);
  slow.write(patch.subarray(0, 10_000));
  await until(async () => (await intake.resultState(name)).received === 10_000);
  const refused = first.catch((error: unknown) => error);
  expect(await put(patch.subarray(10_000), 10_000, patch.length)).toMatchObject({ complete: true });
  expect(await refused).toMatchObject({ code: 'invalid_request' });
  expect(slow.destroyed).toBe(true);
});

it('closing cuts one that is under way; what another had begun is cleared away by the next', async () => {
  const { intake, pods, directory, files } = await opened();
  const endless = new PassThrough();
  const first = intake.takeResult(sha(patch), { offset: 0, bytes: patch.length }, endless);
  endless.write('abc');
  const refused = first.catch((error: unknown) => error);
  await until(async () => (await intake.resultState(sha(patch))).received === 3);
  await pods.close(attempt);
  expect(await refused).toMatchObject({ code: 'invalid_request' });
  writeFileSync(join(directory, attempt, 'upload', `${'a'.repeat(64)}.part`), 'old');
  const again = await pods.open(attempt, null);
  const small = Buffer.from('small');
  await again.takeResult(sha(small), { offset: 0, bytes: 5 }, Readable.from([small]));
  expect(files()).toEqual(['journal.ndjson', 'result.patch', 'upload']);
});
