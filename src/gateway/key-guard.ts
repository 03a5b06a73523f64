import { CallFault } from './dialect.ts';

/**
 * A key that a provider refused is not shown to it again for some seconds: harnesses repeat a 401 ten times over, and with many
 * variations that is a storm. All of them hear the same error meanwhile. Another key is tried at once.
 */
export interface KeyGuard {
  /** Errors: the refusal, where this key of the provider was refused just now. */
  check(providerName: string, key: string | null): void;
  refused(providerName: string, key: string | null, refusal: CallFault): void;
}

const QUIET_MS = 10_000;

export function createKeyGuard(quietMs = QUIET_MS): KeyGuard {
  const refusals = new Map<string, { key: string | null; until: number; refusal: CallFault }>();
  return {
    check(providerName, key) {
      const last = refusals.get(providerName);
      if (last === undefined || last.key !== key || performance.now() >= last.until) return;
      // A new one each time: an error's stack is of where it was made, and its cause may be large.
      const { status, code, message, note } = last.refusal;
      throw new CallFault(status, code, message, { note, nothingSpent: true });
    },
    refused(providerName, key, refusal) {
      // 403 may be about one model only, and without a key there is nothing to hold back.
      if (refusal.status === 401 && key !== null)
        refusals.set(providerName, { key, until: performance.now() + quietMs, refusal });
    },
  };
}
