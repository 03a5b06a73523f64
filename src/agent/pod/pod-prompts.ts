import { setTimeout as wait } from 'node:timers/promises';
import { nextPrompt } from '../../contract/attempt-door.ts';
import type { PromptSource } from '../prompts.ts';
import { parse, wordsOf, type DoorClient } from './door-client.ts';

/** Prompts as a recorder in a pod gets them: the link says that some wait, and they are asked for when a turn has ended. */
export interface PodPrompts extends PromptSource {
  /** The link said that prompts wait up to this number. */
  heard(no: number): void;
}

/** How long a door that does not answer is asked for a prompt that it had told of (ms): a server may be on its way back. */
const PATIENCE_MS = 60_000;

export function createPodPrompts(options: {
  door: DoorClient;
  log(words: string): void;
  patienceMs?: number | undefined;
}): PodPrompts {
  const { door, log } = options;
  let told = 0;
  return {
    heard: (no) => {
      if (no <= told) return;
      told = no;
      log(`Prompts wait, up to ${no}.`);
    },
    // Nothing was told of: nobody is asked, and a door that is away keeps no attempt from its end.
    next: async (after, signal) => {
      const until = performance.now() + (options.patienceMs ?? PATIENCE_MS);
      for (let pause = 100; told > after && !signal.aborted && !door.over.aborted; pause = Math.min(pause * 2, 5000)) {
        try {
          const answer = await door.ask('GET', `/attempt/prompts?after=${after}`, { signal });
          if (answer.status !== 200) throw new Error(`the door answered ${wordsOf(answer)}`);
          return nextPrompt.parse(parse(answer.body)).prompt;
        } catch (error) {
          log(`A prompt cannot be fetched yet: ${error instanceof Error ? error.message : String(error)}`);
          if (performance.now() >= until) throw error;
        }
        await wait(pause, undefined, { signal }).catch(() => undefined);
      }
      return null;
    },
  };
}
