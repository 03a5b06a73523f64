import { createLineSplitter, type LineSplitter } from '../../../agent/line-splitter.ts';

/**
 * Lines of a container's log as `timestamps=true` gives them: an RFC 3339 time, a space, what was printed. Everything else in a
 * log is not the container's: the kubelet writes its own errors into an answer of 200, and after a resume the first piece of a
 * long line may come without its head.
 */
export interface LogLines {
  /** A new connection: what is left of a line of the one before is forgotten. */
  begin(): void;
  push(chunk: Buffer): void;
  /** The log itself is at its end: what has no LF is a line as well. */
  end(): void;
  /** The time of the last line; null = there was none. */
  readonly lastTime: Date | null;
  /** Whether a line came since {@link begin} that is later than all before: not just those that are read again after a resume. */
  readonly hasNews: boolean;
}

export interface LogSinks {
  /** What was printed, LF and time left off. Lent: copy what is kept. Has to be quick. */
  onLine(line: Buffer): void;
  /** Something that is no line of the container, in words. */
  onProblem(message: string): void;
}

/** Without its time. Bytes. */
const LINE_BYTES = 64 * 1024;
/** A time with 9 digits of fraction and an offset is 35 characters. */
const STAMP_BYTES = 35;
const SHOWN_BYTES = 200;

export function createLogLines(sinks: LogSinks): LogLines {
  let splitter: LineSplitter = fresh();
  /** Times of the last line and of the latest; both as they were written. */
  const last = Buffer.alloc(STAMP_BYTES);
  const latest = Buffer.alloc(STAMP_BYTES);
  let lastLength = 0;
  let latestLength = 0;
  let hasNews = false;

  function fresh(): LineSplitter {
    return createLineSplitter({ maxBytes: LINE_BYTES + STAMP_BYTES + 1, keepBytes: SHOWN_BYTES, onLine: take, onCut });
  }
  function take(line: Buffer): void {
    const length = stampLength(line);
    if (length === 0) {
      if (line.length > 0) sinks.onProblem(`not a line of the container: ${shown(line)}`);
      return;
    }
    lastLength = line.copy(last, 0, 0, length);
    if (isLater(line, length, latest, latestLength)) {
      latestLength = line.copy(latest, 0, 0, length);
      hasNews = true;
    }
    try {
      sinks.onLine(line.subarray(length + 1));
    } catch (error) {
      sinks.onProblem(`a line could not be taken: ${(error as Error).message}`);
    }
  }
  function onCut({ head, droppedBytes }: { head: Buffer; droppedBytes: number }): void {
    sinks.onProblem(`a line of ${head.length + droppedBytes} bytes was left out: ${shown(head)}`);
  }

  return {
    begin: () => {
      splitter = fresh();
      hasNews = false;
    },
    push: (chunk) => splitter.push(chunk),
    end: () => splitter.end(),
    get lastTime() {
      return lastLength === 0 ? null : new Date(last.toString('latin1', 0, lastLength));
    },
    get hasNews() {
      return hasNews;
    },
  };
}

/** Quoted, so that nothing in it is taken for anything. */
function shown(line: Buffer): string {
  return JSON.stringify(line.subarray(0, SHOWN_BYTES).toString('utf8'));
}

const SPACE = 0x20;
/** `0` stands for a digit. */
const SHAPE = Buffer.from('0000-00-00T00:00:00');

/** How long the time is that a line begins with; 0 = it begins with none. */
function stampLength(line: Buffer): number {
  const length = line.indexOf(SPACE);
  if (length <= SHAPE.length || length > STAMP_BYTES) return 0;
  for (let at = 0; at < SHAPE.length; at += 1) {
    const byte = line[at];
    if (SHAPE[at] === 0x30 ? !isDigit(byte) : byte !== SHAPE[at]) return 0;
  }
  let at = SHAPE.length;
  if (line[at] === 0x2e) {
    at += 1;
    while (isDigit(line[at])) at += 1;
  }
  const zone = line.toString('latin1', at, length);
  return zone === 'Z' || /^[+-]\d\d:\d\d$/.test(zone) ? length : 0;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** Of one zone: digit by digit, where a fraction that ends earlier is the smaller. */
function isLater(line: Buffer, length: number, other: Buffer, otherLength: number): boolean {
  if (otherLength === 0) return true;
  for (let at = 0; at < length; at += 1) {
    const a = line[at] ?? 0;
    const b = at < otherLength ? (other[at] ?? 0) : 0;
    if (a === b) continue;
    const aEnds = at >= SHAPE.length && a !== 0x2e && !isDigit(a);
    const bEnds = at >= SHAPE.length && b !== 0x2e && !isDigit(b);
    if (aEnds || bEnds) return bEnds && !aEnds;
    return a > b;
  }
  return false;
}
