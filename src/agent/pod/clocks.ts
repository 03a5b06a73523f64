/** How long a recorder may go on when its agent is gone. */
export interface Clocks {
  /** The agent is gone: from now on the hold counts. Again: nothing. */
  hold(): void;
  /** The platform wants the pod to end: from now on its grace counts. Again: nothing. */
  terminate(): void;
  /** Aborted when the patch is not to be waited for any longer, so that the last word still has its time. */
  patch: AbortSignal;
  /** Aborted when nothing is to be waited for any longer. */
  end: AbortSignal;
  /** Aborted when the platform wants the pod to end. */
  terminating: AbortSignal;
}

/** Of the pod's grace, so much is left for what comes after waiting (ms). */
const MARGIN_MS = 3000;

export function createClocks(options: { holdMs: number; graceMs: number }): Clocks {
  const patch = new AbortController();
  const end = new AbortController();
  const terminating = new AbortController();
  let held = false;
  const endsIn = (ms: number): void => {
    // Two thirds for the patch, the rest for the lines behind it.
    setTimeout(() => patch.abort(), (ms * 2) / 3).unref();
    setTimeout(() => end.abort(), ms).unref();
  };
  return {
    hold: () => {
      if (held) return;
      held = true;
      endsIn(options.holdMs);
    },
    terminate: () => {
      if (terminating.signal.aborted) return;
      terminating.abort();
      endsIn(Math.max(1000, options.graceMs - MARGIN_MS));
    },
    patch: patch.signal,
    end: end.signal,
    terminating: terminating.signal,
  };
}
