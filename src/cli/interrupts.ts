import { setTimeout as sleep } from 'node:timers/promises';
import { toAppError } from '../errors.ts';
import type { Client } from './client.ts';
import type { FollowEnd } from './follow.ts';
import type { Io } from './io.ts';

/** Milliseconds within which a second Ctrl-C cancels the run. */
const TWICE = 2000;

export interface InterruptActions {
  /** Ends the picture: what is said from now on stays on the screen. */
  leave(): void;
  say(text: string): void;
  /** Ends the following. */
  stop(): void;
  /** Cancels at the first Ctrl-C. */
  atOnce: boolean;
}

/** Ctrl-C: once says how to come back and leaves two seconds later, twice cancels. */
export class Interrupts {
  leaving = false;
  readonly #client: Client;
  readonly #runId: string;
  readonly #actions: InterruptActions;
  readonly #second = new AbortController();
  readonly #off: () => void;
  #decision: Promise<FollowEnd> | undefined;

  constructor(io: Io, client: Client, runId: string, actions: InterruptActions) {
    this.#client = client;
    this.#runId = runId;
    this.#actions = actions;
    this.#off = io.onSignal((signal) => {
      if (this.leaving) {
        if (signal === 'interrupt') this.#second.abort();
        return;
      }
      this.leaving = true;
      actions.leave();
      this.#decision = this.#decide(signal);
      this.#decision.then(actions.stop, actions.stop);
    });
  }

  /** How it was decided. */
  end(): Promise<FollowEnd> {
    return this.#decision ?? Promise.resolve({ kind: 'detached' });
  }

  close(): void {
    this.#off();
  }

  async #decide(signal: 'interrupt' | 'terminate'): Promise<FollowEnd> {
    if (this.#actions.atOnce) return this.#cancel();
    this.#actions.say(`Leaving run ${this.#runId}; it goes on. Come back with: aideator watch ${this.#runId}`);
    if (signal === 'terminate') return { kind: 'detached' };
    this.#actions.say('Ctrl-C again within 2 s cancels it.');
    const alone = await sleep(TWICE, true, { signal: this.#second.signal }).catch(() => false);
    return alone ? { kind: 'detached' } : this.#cancel();
  }

  async #cancel(): Promise<FollowEnd> {
    try {
      await this.#client.cancel(this.#runId);
      this.#actions.say(`Run ${this.#runId} is being cancelled; what was said and done until now is kept.`);
      return { kind: 'cancelled' };
    } catch (error) {
      this.#actions.say(`Run ${this.#runId} could not be cancelled: ${toAppError(error).message}`);
      return { kind: 'detached' };
    }
  }
}
