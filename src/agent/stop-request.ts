import type { EndReason } from '../contract/run.ts';

/** Why an attempt is to end before its agent says so: the first wish counts, later ones change nothing. */
export interface Stop {
  reason: EndReason;
  /** In words; null where the reason says it all. */
  message: string | null;
}

export interface StopRequest {
  ask(reason: EndReason, message: string | null): void;
  readonly asked: Stop | null;
  /** Resolves when somebody asked. */
  wait: Promise<Stop>;
  /** Aborted when somebody asked. */
  signal: AbortSignal;
}

/** @param outside aborted from outside with an EndReason as its reason */
export function createStopRequest(outside: AbortSignal | undefined): StopRequest {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<Stop>();
  let asked: Stop | null = null;
  const ask = (reason: EndReason, message: string | null): void => {
    if (asked !== null) return;
    asked = { reason, message };
    resolve(asked);
    controller.abort(asked);
  };
  const fromOutside = (): void => ask(outside?.reason as EndReason, null);
  if (outside?.aborted === true) fromOutside();
  else outside?.addEventListener('abort', fromOutside, { once: true });
  return {
    ask,
    get asked() {
      return asked;
    },
    wait: promise,
    signal: controller.signal,
  };
}
