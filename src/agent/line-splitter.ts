/** Lines of a byte stream, split on LF bytes only, with a bound on what is held of an unfinished one. */

export interface CutLine {
  /** The first bytes of the line. */
  head: Buffer;
  /** How many of its bytes are not in `head`. */
  droppedBytes: number;
}

export interface LineSplitter {
  /** Takes the next bytes. The buffers handed to `onLine` are only valid during the call. */
  push(chunk: Buffer): void;
  /** The stream is over: what has no LF is a line as well. */
  end(): void;
}

export interface LineSplitterOptions {
  /** The longest line that is handed over whole, without its LF. Bytes. */
  maxBytes: number;
  /** How much of a longer line is kept. Bytes. */
  keepBytes: number;
  /** A line without its LF. */
  onLine(line: Buffer): void;
  /** A line that was too long; the rest of it was never held. */
  onCut(line: CutLine): void;
}

const LF = 10;

export function createLineSplitter(options: LineSplitterOptions): LineSplitter {
  const { maxBytes, keepBytes, onLine, onCut } = options;
  /** Begin of a line whose LF has not come. */
  let held: Buffer[] = [];
  let heldBytes = 0;
  /** Bytes of the current line that were let go; null while it is not too long. */
  let dropped: number | null = null;

  function hold(piece: Buffer): void {
    if (dropped !== null) {
      dropped += piece.length;
      return;
    }
    held.push(piece);
    heldBytes += piece.length;
    if (heldBytes <= maxBytes) return;
    const head = Buffer.from(Buffer.concat(held).subarray(0, keepBytes));
    dropped = heldBytes - head.length;
    held = [head];
  }

  function finish(): void {
    if (dropped === null) {
      onLine(held.length === 1 ? (held[0] ?? EMPTY) : Buffer.concat(held));
    } else {
      onCut({ head: held[0] ?? EMPTY, droppedBytes: dropped });
    }
    held = [];
    heldBytes = 0;
    dropped = null;
  }

  return {
    push: (chunk) => {
      let from = 0;
      for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, from)) {
        const piece = chunk.subarray(from, at);
        from = at + 1;
        if (heldBytes === 0 && dropped === null && piece.length <= maxBytes) {
          onLine(piece);
        } else {
          hold(piece);
          finish();
        }
      }
      // A copy: a small rest must not keep the whole chunk alive.
      if (from < chunk.length) hold(Buffer.from(chunk.subarray(from)));
    },
    end: () => {
      if (heldBytes > 0 || dropped !== null) finish();
    },
  };
}

const EMPTY = Buffer.alloc(0);
