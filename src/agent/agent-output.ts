import { isUtf8 } from 'node:buffer';
import type { Readable } from 'node:stream';
import { MAX_PAYLOAD_BYTES } from '../contract/envelope.ts';
import type { Journal } from './journal.ts';
import { createLineSplitter, type CutLine } from './line-splitter.ts';

/** What the agent prints, written down as it comes. Whatever it prints is data: nothing in it can become an event of another kind. */

/** Of a line that is too long, so much is kept (bytes). */
const KEPT_OF_CUT = 64 * 1024;
/** The longest line on stderr that is kept whole, and the longest chunk of lines (bytes). */
const STDERR_CHUNK = 16 * 1024;
/** After the output limit, so many answers to our own requests are still taken: one of them may be the agent's last word. */
const ANSWERS_AFTER_LIMIT = 16;

export interface JsonRpcMessage {
  jsonrpc: '2.0';
  id?: string | number | null;
  method?: string;
  params?: unknown;
  result?: unknown;
  error?: unknown;
}

export interface OutputCounts {
  /** Bytes of stdout and stderr together. */
  bytes: number;
  /** ACP messages, and lines that are none. */
  messages: number;
  unparsed: number;
  /** Bytes that came after the limit and were not kept. */
  dropped: number;
  /** When the last ACP message came (ms, of `performance.now()`). Null before the first. */
  lastMessageAt: number | null;
  firstMessageAt: number | null;
}

export interface OutputOptions {
  journal: Journal;
  /** Bytes that may be printed in all. */
  maxBytes: number;
  /** Every ACP message except `session/update`, which needs no answer. */
  onMessage(message: JsonRpcMessage): void;
  /** The params of each `session/update`. */
  onUpdate?(params: unknown): void;
  onLimit(): void;
  /** More must not be read now, e.g. because the agent does not take our answers: resolves when it may. */
  ready(): Promise<void> | null;
}

export interface AgentOutput {
  readonly counts: Readonly<OutputCounts>;
  /** The last of what it printed on stderr, at most 2 KiB. */
  stderrTail(): string;
  /** Reads both pipes to their ends, only as fast as the journal takes them. */
  read(stdout: Readable, stderr: Readable): Promise<void>;
}

export function createAgentOutput(options: OutputOptions): AgentOutput {
  const { journal } = options;
  const counts: OutputCounts = {
    bytes: 0,
    messages: 0,
    unparsed: 0,
    dropped: 0,
    lastMessageAt: null,
    firstMessageAt: null,
  };
  let limited = false;
  let answersLeft = ANSWERS_AFTER_LIMIT;
  let tail = Buffer.alloc(0);

  function count(chunk: Buffer): void {
    counts.bytes += chunk.length;
    if (counts.bytes <= options.maxBytes || limited) return;
    limited = true;
    options.onLimit();
  }

  function takeLine(line: Buffer): void {
    const text = textOf(line);
    if (text === null) {
      takeUnparsed({ base64: line.toString('base64') });
      return;
    }
    if (text.trim() === '') return;
    const message = parseMessage(text);
    if (message === null) {
      takeUnparsed({ text });
      return;
    }
    if (limited) {
      if (message.method !== undefined || answersLeft === 0) {
        counts.dropped += line.length + 1;
        return;
      }
      answersLeft -= 1;
    }
    counts.messages += 1;
    counts.lastMessageAt = performance.now();
    counts.firstMessageAt ??= counts.lastMessageAt;
    journal.append('acp', text, message);
    // The flood: it wants no answer and changes nothing here.
    if (message.method === 'session/update' && message.id === undefined) {
      options.onUpdate?.(message.params);
      return;
    }
    options.onMessage(message);
  }

  function takeUnparsed(what: { text: string } | { base64: string }): void {
    counts.unparsed += 1;
    const data = JSON.stringify(what);
    if (limited) {
      counts.dropped += data.length;
    } else if (data.length * 3 > MAX_PAYLOAD_BYTES && Buffer.byteLength(data) > MAX_PAYLOAD_BYTES) {
      // Escapes make it longer than it is.
      const whole = 'text' in what ? Buffer.from(what.text) : Buffer.from(what.base64, 'base64');
      takeCut('stdout', { head: whole.subarray(0, KEPT_OF_CUT), droppedBytes: whole.length - KEPT_OF_CUT });
    } else {
      journal.append('unparsed', data);
    }
  }

  function takeCut(stream: 'stdout' | 'stderr', { head, droppedBytes }: CutLine): void {
    if (limited) {
      counts.dropped += head.length + droppedBytes;
      return;
    }
    journal.note(
      'line_cut',
      `A line of the agent's ${stream} is too long: its first ${head.length} bytes are kept, ${droppedBytes} are not.`,
      {
        stream,
        kept_bytes: head.length,
        dropped_bytes: droppedBytes,
        ...headOf(head),
      },
    );
  }

  async function follow(stream: Readable, push: (chunk: Buffer) => void): Promise<void> {
    try {
      for await (const chunk of stream) {
        count(chunk as Buffer);
        push(chunk as Buffer);
        if (journal.full) await journal.drained();
        const pause = options.ready();
        if (pause !== null) await pause;
      }
    } catch {
      // The pipe was closed on our side: what had come was taken.
    }
  }

  async function readStdout(stdout: Readable): Promise<void> {
    const lines = createLineSplitter({
      maxBytes: MAX_PAYLOAD_BYTES,
      keepBytes: KEPT_OF_CUT,
      onLine: takeLine,
      onCut: (cut) => takeCut('stdout', cut),
    });
    await follow(stdout, lines.push);
    lines.end();
  }

  async function readStderr(stderr: Readable): Promise<void> {
    /** Whole lines of this chunk, to be one event. */
    let gathered: Buffer[] = [];
    let gatheredBytes = 0;
    const give = (): void => {
      if (gatheredBytes === 0) return;
      const whole = Buffer.concat(gathered);
      gathered = [];
      gatheredBytes = 0;
      if (limited) {
        counts.dropped += whole.length;
        return;
      }
      const text = textOf(whole);
      journal.append('stderr', JSON.stringify(text === null ? { base64: whole.toString('base64') } : { text }));
    };
    const lines = createLineSplitter({
      maxBytes: STDERR_CHUNK - 1,
      keepBytes: STDERR_CHUNK - 1,
      onLine: (line) => {
        if (gatheredBytes + line.length + 1 > STDERR_CHUNK) give();
        gathered.push(Buffer.from(line), LF);
        gatheredBytes += line.length + 1;
      },
      onCut: (cut) => {
        give();
        takeCut('stderr', cut);
      },
    });
    await follow(stderr, (chunk) => {
      tail = Buffer.concat([tail, chunk.subarray(-TAIL)]).subarray(-TAIL);
      lines.push(chunk);
      give();
    });
    lines.end();
    give();
  }

  return {
    counts,
    stderrTail: () => tailOf(tail),
    read: async (stdout, stderr) => {
      await Promise.all([readStdout(stdout), readStderr(stderr)]);
    },
  };
}

const LF = Buffer.from('\n');
const TAIL = 2048;
/** Where no white space shows where a word begins, so much is let go of (characters). */
const LONGEST_KEY = 512;

/** The end of what was printed, from the first whole word: the rest of a key whose beginning was cut off would not be told. */
function tailOf(tail: Buffer): string {
  const text = tail.toString('utf8');
  const whole = tail.length < TAIL ? text : text.slice(Math.min(text.search(/\s|$/), LONGEST_KEY));
  return whole.trim();
}

/** A line's text, without the CR of a CRLF; null where it is not UTF-8. */
function textOf(line: Buffer): string | null {
  if (!isUtf8(line)) return null;
  const end = line.at(-1) === 13 ? line.length - 1 : line.length;
  return line.toString('utf8', 0, end);
}

/** The start of a cut line as text, without a character that the cut went through. */
function headOf(head: Buffer): { text: string } | { base64: string } {
  for (let end = head.length; end > head.length - 4 && end > 0; end -= 1) {
    const piece = head.subarray(0, end);
    if (isUtf8(piece)) return { text: piece.toString('utf8') };
  }
  return { base64: head.toString('base64') };
}

/** A JSON-RPC 2.0 message: one object, a call or an answer. */
function parseMessage(text: string): JsonRpcMessage | null {
  if (text.charCodeAt(0) !== 123 && !text.trimStart().startsWith('{')) return null;
  try {
    const value = JSON.parse(text) as JsonRpcMessage;
    if (value.jsonrpc !== '2.0') return null;
    return typeof value.method === 'string' || (value.id !== undefined && ('result' in value || 'error' in value))
      ? value
      : null;
  } catch {
    return null;
  }
}
