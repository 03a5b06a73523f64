import { probeSandbox, type Probed } from '../agent/sandbox/probe.ts';
import type { Config } from '../config.ts';

/** What came of trying a sandbox. */
export interface SandboxTrial {
  /** null where none is wanted. */
  readonly found: Probed | null;
  /** Tries again where none worked: bubblewrap may have been installed since. */
  again(): Promise<void>;
}

/** Tries a sandbox, where one is wanted. Never rejects. */
export async function trySandbox({ runtime, sandbox, env }: Config): Promise<SandboxTrial> {
  const isWanted = runtime === 'local' && sandbox.mode !== 'off';
  const look = () => probeSandbox(env, sandbox.limits);
  let found = isWanted ? await look() : null;
  let looking: Promise<void> | null = null;
  return {
    get found() {
      return found;
    },
    again: async () => {
      if (found === null || found.works) return;
      looking ??= look()
        .then((now) => void (found = now))
        .finally(() => (looking = null));
      await looking;
    },
  };
}
