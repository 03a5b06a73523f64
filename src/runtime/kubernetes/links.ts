import { LINK_BEAT_MS, type LinkMessage } from '../../contract/attempt-door.ts';

/** Whoever is told what a recorder is to know. */
export interface LinkListener {
  onMessage(message: LinkMessage): void;
  onEnd(): void;
}

/** The links of one attempt. Nothing waits for them: a message is handed over, or its link is dropped. */
export interface Links {
  readonly count: number;
  /** Tells at once what is so, then every change. An older link is ended: its recorder has come again. Returns the way out. */
  add(listener: LinkListener): () => void;
  /** `have` may have changed. Told soon, or at once where somebody waits for it. */
  changed(isUrgent: boolean): void;
  tell(message: LinkMessage): void;
  /** Says how far it is for the last time and ends all. */
  end(): void;
}

/** While lines flow, `have` is told this often (ms). */
const PACE_MS = 100;

/** @param now what is so: told to each new link, and its `have` as the beat. */
export function createLinks(now: () => LinkMessage & { have: number }): Links {
  const listeners = new Set<LinkListener>();
  let told = -1;
  let toldAt = 0;
  let soon: NodeJS.Timeout | null = null;
  let beat: NodeJS.Timeout | null = null;

  function send(listener: LinkListener, message: LinkMessage): void {
    try {
      listener.onMessage(message);
    } catch {
      drop(listener);
    }
  }

  function drop(listener: LinkListener): void {
    if (!listeners.delete(listener)) return;
    if (listeners.size === 0) rest();
    listener.onEnd();
  }

  /** Nobody listens: no timers. */
  function rest(): void {
    if (soon !== null) clearTimeout(soon);
    if (beat !== null) clearTimeout(beat);
    soon = beat = null;
  }

  function say(): void {
    rest();
    if (listeners.size === 0) return;
    told = now().have;
    toldAt = performance.now();
    for (const listener of [...listeners]) send(listener, { have: told });
    if (listeners.size > 0) beat = setTimeout(say, LINK_BEAT_MS).unref();
  }

  return {
    get count() {
      return listeners.size;
    },
    add: (listener) => {
      for (const older of [...listeners]) drop(older);
      listeners.add(listener);
      const message = now();
      told = message.have;
      toldAt = performance.now();
      send(listener, message);
      beat ??= setTimeout(say, LINK_BEAT_MS).unref();
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) rest();
      };
    },
    changed: (isUrgent) => {
      if (listeners.size === 0 || (!isUrgent && now().have === told)) return;
      const wait = PACE_MS - (performance.now() - toldAt);
      if (isUrgent || wait <= 0) say();
      else soon ??= setTimeout(say, wait).unref();
    },
    tell: (message) => {
      for (const listener of [...listeners]) send(listener, message);
    },
    end: () => {
      say();
      rest();
      for (const listener of [...listeners]) drop(listener);
    },
  };
}
