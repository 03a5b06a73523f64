import { createHash } from 'node:crypto';
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { toAppError } from '../../src/errors.ts';
import { createPods } from '../../src/runtime/kubernetes/pods.ts';
import { writtenJournal } from './journal-lines.ts';

/**
 * A process that holds an attempt's intake. `steady DIR`: takes lines in the way of a log until it is killed, and prints each
 * `have` it would have told a recorder. `full DIR`: DIR is a small volume; prints what came of a disk that is full.
 */

export const ATTEMPT = '7b1a6c1e-0a52-4a4e-9d3e-2f6f0c4f9a10';
export const LINES = 60_000;

const [, , how, directory] = process.argv;
if (how === 'steady' && directory !== undefined) await steady(directory);
if (how === 'full' && directory !== undefined) await full(directory);

async function steady(directory: string): Promise<void> {
  const { lines } = writtenJournal(ATTEMPT, LINES);
  const pods = createPods({ directory });
  const intake = await pods.open(ATTEMPT, null);
  const start = intake.have;
  intake.link(({ have }) => process.stdout.write(`${have}\n`));
  for (let n = start; n < lines.length; n += 1) {
    // Every so often the log loses some, which the recorder then uploads.
    const isLost = n % 1000 > 990;
    if (!isLost) intake.offer(lines[n]!.subarray(0, -1));
    if (n % 1000 === 999) process.stdout.write(`${await intake.lines(Buffer.concat(lines.slice(n - 12, n + 1)))}\n`);
    else if (n % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

async function full(directory: string): Promise<void> {
  const { lines, bytes } = writtenJournal(ATTEMPT, 3000);
  const pods = createPods({ directory });
  const intake = await pods.open(ATTEMPT, null);
  const filler = join(directory, 'filler');
  fill(filler);
  const codes: string[] = [];
  const codeOf = (work: Promise<unknown>) =>
    work.then(
      () => codes.push('ok'),
      (error: unknown) => codes.push(toAppError(error).code),
    );
  await codeOf(intake.claim('pod'));
  await codeOf(intake.lines(Buffer.concat(lines.slice(0, 200))));
  for (const line of lines.slice(0, 400)) intake.offer(line.subarray(0, -1));
  for (const line of lines.slice(500, 900)) intake.offer(line.subarray(0, -1));
  await codeOf(intake.lines(Buffer.concat(lines.slice(0, 100))));
  const patch = Buffer.alloc(300_000, 7);
  const sha256 = createHash('sha256').update(patch).digest('hex');
  await codeOf(intake.takeResult(sha256, { offset: 0, bytes: patch.length }, Readable.from([patch])));
  // Room for some of it: whole lines that were written stay, half a line does not.
  truncateSync(filler, statSync(filler).size - 20_480);
  await codeOf(intake.lines(Buffer.concat(lines.slice(0, 400))));
  const { have } = intake;
  const onDisk = statSync(intake.journal).size;
  rmSync(filler);
  const claimed = await intake.claim('pod');
  for (let at = intake.have; at < lines.length; at = intake.have)
    await intake.lines(Buffer.concat(lines.slice(at, at + 300)));
  const { received } = await intake.resultState(sha256);
  const rest = Readable.from([patch.subarray(received)]);
  const result = await intake.takeResult(sha256, { offset: received, bytes: patch.length }, rest);
  const isWhole = readFileSync(intake.journal).equals(bytes);
  process.stdout.write(JSON.stringify({ codes, have, onDisk, claimed, isWhole, ended: intake.ended, result }));
}

/** Writes until there is no byte left. */
function fill(path: string): void {
  for (let size = 1 << 20; size > 0; size >>= 1) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(size), { flag: 'a' });
    } catch {
      // Smaller.
    }
  }
}
