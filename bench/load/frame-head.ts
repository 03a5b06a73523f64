/**
 * What is asked of an event's frame, read from its bytes without a string: at a hundred thousand a second the load must not be
 * what is measured. Most frames of a stream are built alike, so a field is first looked for where it stood the last time.
 */
export class FrameHead {
  /** 0 where the frame has none (a heartbeat). */
  id = 0;
  /** -1 where it has none, or null. */
  seq = -1;
  /** When it was appended, in microseconds; 0 = not said. */
  time = 0;
  /** From the end of the id's line to the seq. */
  #distance = 0;
  #at = 0;

  /** Reads the frame at `from` of bytes that hold all of it. */
  read(bytes: Buffer, from: number, end: number): void {
    this.id = 0;
    this.seq = -1;
    this.time = 0;
    this.#at = from;
    if (matches(bytes, from, ID)) this.id = this.#number(bytes, from + ID.length);
    const lineEnd = this.#at;
    let seqAt = lineEnd + this.#distance;
    if (!matches(bytes, seqAt, SEQ)) {
      const found = bytes.subarray(lineEnd, Math.min(end, lineEnd + HEAD_BYTES)).indexOf(SEQ);
      if (found === -1) return;
      this.#distance = found;
      seqAt = lineEnd + found;
    }
    const digit = bytes[seqAt + SEQ.length] ?? 0;
    if (digit < ZERO || digit > ZERO + 9) return;
    this.seq = this.#number(bytes, seqAt + SEQ.length);
    if (matches(bytes, this.#at, TIME)) this.time = this.#number(bytes, this.#at + TIME.length);
  }

  #number(bytes: Buffer, from: number): number {
    let at = from;
    let value = 0;
    for (let digit = (bytes[at] ?? 0) - ZERO; digit >= 0 && digit <= 9; digit = (bytes[at] ?? 0) - ZERO) {
      value = value * 10 + digit;
      at += 1;
    }
    this.#at = at;
    return value;
  }
}

const ZERO = 48;
const ID = Buffer.from('id: ');
const SEQ = Buffer.from('"seq":');
const TIME = Buffer.from(',"t":');
/** In so many bytes behind the id stands the seq, or nowhere. */
const HEAD_BYTES = 320;

function matches(bytes: Buffer, at: number, text: Buffer): boolean {
  for (let index = 0; index < text.length; index += 1) {
    if (bytes[at + index] !== text[index]) return false;
  }
  return true;
}
