/**
 * Room for so many bytes of requests at once, of one attempt: an agent can ask for as much as it likes, in as many calls as it likes,
 * and what serves it must not be filled. Who finds no room waits unread, first come, first served.
 */
export interface Room {
  /**
   * Resolves when there is room, with the way to leave it. What is larger than all of it gets in where nobody else is. Errors: the
   * signal's reason.
   */
  enter(bytes: number, signal: AbortSignal): Promise<() => void>;
}

/** A call takes at least so much, however little it says: with connections and all that is kept of it. Bytes. */
const LEAST = 512 * 1024;

export function createRoom(most: number): Room {
  let held = 0;
  const waiting = new Set<{ bytes: number; go: () => void }>();

  function admit(): void {
    for (const first of waiting) {
      if (held > 0 && held + first.bytes > most) return;
      waiting.delete(first);
      held += first.bytes;
      first.go();
    }
  }

  return {
    enter: (asked, signal) =>
      new Promise((resolve, reject) => {
        signal.throwIfAborted();
        const bytes = Math.max(asked, LEAST);
        let inside = true;
        const leave = (): void => {
          if (!inside) return;
          inside = false;
          held -= bytes;
          admit();
        };
        const place = {
          bytes,
          go: () => {
            signal.removeEventListener('abort', giveUp);
            resolve(leave);
          },
        };
        const giveUp = (): void => {
          waiting.delete(place);
          reject(signal.reason instanceof Error ? signal.reason : new Error('It was waited for no longer.'));
          // Those behind it may be smaller.
          admit();
        };
        signal.addEventListener('abort', giveUp, { once: true });
        waiting.add(place);
        admit();
      }),
  };
}

/** How much of a request's body may have to be kept: what it says, or all that may be where it does not; nothing of what is refused. */
export function expectedBytes(contentLength: string | undefined, most: number): number {
  const said = Number(contentLength ?? most);
  return said > most ? 0 : said;
}
