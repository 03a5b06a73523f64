import { createReadStream } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { resultState, type ResultState } from '../../contract/attempt-door.ts';
import { parse, wordsOf, type DoorClient } from './door-client.ts';

export interface ResultUpload {
  door: DoorClient;
  file: string;
  sha256: string;
  bytes: number;
  log(words: string): void;
  /** Aborted when it is not to be tried any longer. */
  signal: AbortSignal;
}

/** So often a file may arrive damaged before it is given up. */
const MAX_DAMAGED = 3;

/**
 * Brings the patch to the server: asks what is there, and goes on from that, as often as it takes. Resolves as well where the
 * attempt is over for the server. Errors: the server does not take it (too large, damaged on the way again and again), or the
 * signal was aborted first.
 */
export async function uploadResult({ door, file, sha256, bytes, log, signal }: ResultUpload): Promise<void> {
  const path = `/attempt/result/${sha256}`;
  let damaged = 0;
  let pause = 200;
  while (!door.over.aborted) {
    signal.throwIfAborted();
    try {
      let state = stateOf(await door.ask('GET', path, { signal }));
      while (state !== null && !state.complete) {
        const offset = Math.min(state.received, bytes);
        const answer = await door.ask('PUT', `${path}?offset=${offset}&bytes=${bytes}`, {
          body: () => createReadStream(file, { start: offset }),
          bytes: bytes - offset,
          type: 'application/octet-stream',
          signal,
        });
        const before: number = state.received;
        if (answer.status === 413) throw new Refused(`the server does not take a patch of ${bytes} bytes`);
        if (answer.status === 422) {
          damaged += 1;
          if (damaged === MAX_DAMAGED) throw new Refused('it arrived damaged again and again');
          state = stateOf(await door.ask('GET', path, { signal }));
        } else {
          state = answer.status === 409 ? (receivedOf(answer.body) ?? stateOf(answer)) : stateOf(answer);
          if (state?.complete === false && state.received === before)
            throw new Error(`the server stays at ${before} bytes`);
          pause = 200;
        }
      }
      if (state !== null) return;
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (signal.aborted) throw new Error('its patch could not be brought to the server in time', { cause: error });
      log(`The patch is not uploaded yet: ${error instanceof Error ? error.message : String(error)}`);
    }
    await wait(pause, undefined, { signal }).catch(() => undefined);
    pause = Math.min(pause * 2, 10_000);
  }
}

class Refused extends Error {
  override readonly name = 'Refused';
}

/** What the server has; null where it is over. Errors: any other answer. */
function stateOf(answer: { status: number; body: Buffer }): ResultState | null {
  if (answer.status === 403) return null;
  if (answer.status !== 200) throw new Error(`the door answered ${wordsOf(answer)}`);
  return resultState.parse(parse(answer.body));
}

/** A refused offset says what was received, bare or as the details of the error. */
function receivedOf(body: Buffer): ResultState | null {
  const said = parse(body);
  if (typeof said !== 'object' || said === null) return null;
  return resultState.safeParse(said).data ?? null;
}
