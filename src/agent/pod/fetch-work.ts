import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import type { EarlierWork } from '../../contract/attempt.ts';
import type { DoorClient } from './door-client.ts';

export interface FetchWork {
  door: DoorClient;
  work: EarlierWork;
  /** Where it is written. */
  file: string;
  log(words: string): void;
  signal: AbortSignal;
  /** How long a door that does not answer is asked again (ms). */
  patienceMs?: number | undefined;
}

/**
 * Fetches the patch that the work tree starts with, by its hash: what arrives otherwise, or in part, is fetched anew. Errors: what
 * the last try failed of; the attempt is over for the server; the signal's reason.
 */
export async function fetchWork(request: FetchWork): Promise<string> {
  const { door, work, file, log, signal } = request;
  const until = performance.now() + (request.patienceMs ?? 300_000);
  for (let pause = 100; ; pause = Math.min(pause * 2, 5000)) {
    signal.throwIfAborted();
    try {
      await fetchOnce(request);
      return file;
    } catch (error) {
      await rm(file, { force: true });
      signal.throwIfAborted();
      const words = error instanceof Error ? error.message : String(error);
      if (door.over.aborted || /answered 404/.test(words) || performance.now() >= until)
        throw new Error(`The work to go on from could not be fetched: ${words}`, { cause: error });
      log(`The work to go on from (${work.bytes} bytes) is not here yet: ${words}`);
    }
    await wait(pause, undefined, { signal }).catch(() => undefined);
  }
}

async function fetchOnce({ door, work, file, signal }: FetchWork): Promise<void> {
  const answer = await door.open(`/attempt/work/${work.sha256}`, signal);
  const hash = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      hash.update(chunk);
      done(bytes > work.bytes ? new Error('it is longer than was announced') : null, chunk);
    },
  });
  // A connection that rests for a minute is dead.
  answer.setTimeout(60_000, () => answer.destroy(new Error('no byte for a minute')));
  await pipeline(answer, measure, createWriteStream(file, { mode: 0o600 }), { signal });
  if (bytes !== work.bytes || hash.digest('hex') !== work.sha256) throw new Error('it arrived damaged');
}
