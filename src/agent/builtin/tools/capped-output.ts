/** Keeps the beginning and the end of what a command prints, and says how much is missing between them. */
export interface CappedOutput {
  push(chunk: Buffer): void;
  /** The text, with a mark where something was cut. */
  text(): string;
}

/** @param half bytes kept of the beginning, and of the end */
export function createCappedOutput(half: number): CappedOutput {
  const head: Buffer[] = [];
  let headBytes = 0;
  let tail: Buffer = Buffer.alloc(0);
  let dropped = 0;
  return {
    push: (chunk) => {
      const toHead = chunk.subarray(0, half - headBytes);
      if (toHead.length > 0) {
        head.push(Buffer.from(toHead));
        headBytes += toHead.length;
      }
      const rest = chunk.subarray(toHead.length);
      if (rest.length === 0) return;
      const all = Buffer.concat([tail, rest]);
      tail = all.subarray(Math.max(0, all.length - half));
      dropped += all.length - tail.length;
    },
    text: () => {
      const start = Buffer.concat(head);
      if (dropped === 0) return Buffer.concat([start, tail]).toString('utf8');
      // Not in the middle of a character.
      let from = 0;
      while (from < tail.length && ((tail[from] ?? 0) & 0xc0) === 0x80) from += 1;
      let to = start.length;
      while (to > 0 && ((start[to - 1] ?? 0) & 0xc0) === 0x80) to -= 1;
      if (to > 0 && (start[to - 1] ?? 0) >= 0xc0) to -= 1;
      const missing = dropped + from + (start.length - to);
      return `${start.toString('utf8', 0, to)}\n[… ${missing} bytes are left out here …]\n${tail.toString('utf8', from)}`;
    },
  };
}
