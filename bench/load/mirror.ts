import { sharedMicros } from '../harness/clock.ts';
import { FrameHead } from './frame-head.ts';
import { Latencies } from './latency.ts';

/**
 * What readers of one stream were sent. All must get the same bytes: whoever is ahead writes them down and has them checked
 * frame by frame, the others are compared with them. So a thousand readers are checked byte by byte for the price of a memcmp.
 */
export class Mirror {
  readonly latencies = new Latencies();
  /** What is wrong, in words: at most {@link MAX_VIOLATIONS} are kept. */
  readonly violations: string[] = [];
  /** When the first reader had the frame with this seq (ms, `performance.now()`). Set before it comes. */
  readonly marks = new Map<number, number | null>();
  /** Whether the time from append to read is taken, of every delivery. */
  isTiming = false;
  readonly #readers: Reader[] = [];
  /** Known bytes; the first of them is at offset `#base` of the stream. */
  #bytes = Buffer.allocUnsafe(1 << 20);
  #base = 0;
  #end = 0;
  /** Where the frame begins that is not whole yet. */
  #frameStart = 0;
  /** Of each whole frame: its end, its seq (that of the last one that had any), when it was appended (0 = unknown). */
  readonly #ends: number[] = [];
  readonly #seqs: number[] = [];
  readonly #times: number[] = [];
  readonly #ids: number[] = [];
  readonly #head = new FrameHead();
  #lastId = 0;
  #lastSeq = 0;

  /** Adds a reader that begins with the stream, or behind what another one has (`like`). */
  add(like?: number): number {
    const { offset, frames } = (like === undefined ? undefined : this.#readers[like]) ?? { offset: 0, frames: 0 };
    this.#readers.push({ offset, frames, isBroken: false });
    return this.#readers.length - 1;
  }

  /** Moves a reader that was cut off back to the end of its last whole frame, where it resumes; gives that frame's id. */
  rewind(index: number): number {
    const reader = this.#reader(index);
    reader.offset = this.#ends[reader.frames - 1] ?? 0;
    return this.#ids[reader.frames - 1] ?? 0;
  }

  take(index: number, buffer: Buffer, start: number, end: number): void {
    const reader = this.#reader(index);
    const known = Math.min(this.#end - reader.offset, end - start);
    if (known > 0 && !reader.isBroken) {
      const at = reader.offset - this.#base;
      if (at < 0 || buffer.compare(this.#bytes, at, at + known, start, start + known) !== 0) {
        reader.isBroken = true;
        this.#violate(
          `reader ${index} got other bytes than the others, behind seq ${this.#seqs[reader.frames - 1] ?? 0}`,
        );
      }
    }
    if (known < end - start) this.#append(buffer, start + known, end);
    reader.offset += end - start;
    this.#advance(reader);
  }

  /** The seq that a reader has. */
  seqOf(index: number): number {
    return this.#seqs[this.#reader(index).frames - 1] ?? 0;
  }

  /** How many frames a reader has. */
  framesOf(index: number): number {
    return this.#reader(index).frames;
  }

  /** The seq that all of these readers have. */
  lowestSeq(readers: readonly number[]): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const index of readers) lowest = Math.min(lowest, this.#reader(index).frames);
    return this.#seqs[lowest - 1] ?? 0;
  }

  /** Frames that were delivered, to all readers together. */
  get deliveries(): number {
    return this.#readers.reduce((sum, { frames }) => sum + frames, 0);
  }

  #advance(reader: Reader): void {
    const now = this.isTiming ? sharedMicros() : 0;
    while (reader.frames < this.#ends.length && (this.#ends[reader.frames] ?? 0) <= reader.offset) {
      const time = this.#times[reader.frames] ?? 0;
      if (now !== 0 && time !== 0) this.latencies.record(now - time);
      reader.frames += 1;
    }
  }

  #append(buffer: Buffer, start: number, end: number): void {
    const length = this.#end - this.#base;
    if (length + end - start > this.#bytes.length) this.#makeRoom(end - start);
    buffer.copy(this.#bytes, this.#end - this.#base, start, end);
    this.#end += end - start;
    const known = this.#bytes.subarray(0, this.#end - this.#base);
    for (;;) {
      const from = this.#frameStart - this.#base;
      const frameEnd = known.indexOf(BLANK_LINE, from);
      if (frameEnd === -1) break;
      this.#read(from, frameEnd);
      this.#frameStart = this.#base + frameEnd + 2;
      this.#ends.push(this.#frameStart);
    }
  }

  /** Checks a frame's id and seq: ids rise, numbers are dense. */
  #read(from: number, frameEnd: number): void {
    const head = this.#head;
    head.read(this.#bytes, from, frameEnd);
    const { id, seq, time } = head;
    if (id !== 0) {
      if (id <= this.#lastId) this.#violate(`id ${id} came after ${this.#lastId}`);
      this.#lastId = id;
    }
    if (seq !== -1) {
      if (seq === this.#lastSeq) this.#violate(`seq ${seq} came twice`);
      else if (seq !== this.#lastSeq + 1) this.#violate(`seq ${seq} came after ${this.#lastSeq}`);
      this.#lastSeq = seq;
      if (this.marks.get(seq) === null) this.marks.set(seq, performance.now());
    }
    this.#ids.push(this.#lastId);
    this.#seqs.push(this.#lastSeq);
    this.#times.push(time);
  }

  /** Forgets what every reader has; doubles the memory where that is not enough. */
  #makeRoom(more: number): void {
    // A reader that is cut off goes back to the end of its last whole frame.
    const needed = Math.min(this.#frameStart, ...this.#readers.map(({ frames }) => this.#ends[frames - 1] ?? 0));
    const kept = this.#bytes.subarray(needed - this.#base, this.#end - this.#base);
    let size = this.#bytes.length;
    while (kept.length + more > size / 2) size *= 2;
    if (size === this.#bytes.length) {
      kept.copy(this.#bytes);
    } else {
      const larger = Buffer.allocUnsafe(size);
      kept.copy(larger);
      this.#bytes = larger;
    }
    this.#base = needed;
  }

  #violate(what: string): void {
    if (this.violations.length < MAX_VIOLATIONS) this.violations.push(what);
  }

  #reader(index: number): Reader {
    const reader = this.#readers[index];
    if (reader === undefined) throw new Error(`there is no reader ${index}`);
    return reader;
  }
}

interface Reader {
  /** Bytes of the stream that it has. */
  offset: number;
  /** Whole frames that it has. */
  frames: number;
  isBroken: boolean;
}

const MAX_VIOLATIONS = 20;
const BLANK_LINE = Buffer.from('\n\n');
