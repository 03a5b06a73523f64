import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallFault } from '../dialect.ts';
import type { Conversation } from './conversation.ts';
import type { Turn } from './script.ts';

/** The smallest parts of an answer, before a dialect gives them its form. */
export type Beat =
  | { type: 'thinking' | 'text' | 'input'; delta: string }
  | { type: 'tool'; id: string; name: string }
  | { type: 'error'; status: number; message: string };

/** Thrown where the script cuts the connection. */
export class Cut extends Error {
  override readonly name = 'Cut';
}

export interface Counted {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
}

const DELTA_CHARS = 24;

/** The parts of a turn in order, at its pace. Ends early by its error, its cut (throws Cut), its stall (until `signal`). */
export async function* beats(turn: Turn, conversation: Conversation, signal: AbortSignal): AsyncGenerator<Beat> {
  let count = 0;
  for (const beat of allBeats(turn, conversation)) {
    if (beat.type !== 'tool') {
      if (turn.error?.after === count) {
        yield { type: 'error', status: turn.error.status, message: messageOf(turn) };
        return;
      }
      await halt(turn, count, signal);
      if (turn.delay_ms !== undefined && turn.delay_ms > 0) await pause(turn.delay_ms, signal);
      count++;
    }
    yield beat;
  }
  if (turn.error?.after !== undefined) {
    yield { type: 'error', status: turn.error.status, message: messageOf(turn) };
    return;
  }
  // Beyond the last delta, but before the end: the answer is still cut, or never ends.
  if (turn.cut_after !== undefined || turn.stall_after !== undefined) await halt(turn, Infinity, signal);
}

async function halt(turn: Turn, count: number, signal: AbortSignal): Promise<void> {
  if (turn.cut_after !== undefined && count >= turn.cut_after) throw new Cut('the script cuts here');
  if (turn.stall_after !== undefined && count >= turn.stall_after) await pause(2 ** 31 - 1, signal);
}

/** Waits, or throws the signal's reason. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal, ref: false });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

function* allBeats(turn: Turn, conversation: Conversation): Generator<Beat> {
  const size = turn.delta_chars ?? DELTA_CHARS;
  for (const delta of pieces(turn.thinking ?? '', size)) yield { type: 'thinking', delta };
  for (let said = 0; said < (turn.repeat ?? 1); said++) {
    for (const delta of pieces(turn.text ?? '', size)) yield { type: 'text', delta };
  }
  for (const [index, tool] of (turn.tools ?? []).entries()) {
    yield { type: 'tool', id: idOf('call', conversation, index), name: tool.name };
    for (const delta of pieces(JSON.stringify(tool.input), size)) yield { type: 'input', delta };
  }
}

/** Splits after white space where there is some, and never inside a character. */
export function* pieces(text: string, size: number): Generator<string> {
  for (let from = 0; from < text.length;) {
    let to = Math.min(text.length, from + size);
    if (to < text.length) {
      let space = to - 1;
      while (space > from && !/\s/.test(text[space] ?? '')) space--;
      if (space > from) to = space + 1;
      const last = text.charCodeAt(to - 1);
      if (last >= 0xd800 && last <= 0xdbff) to += 1;
    }
    yield text.slice(from, to);
    from = to;
  }
}

/** An id that is the same whenever the same turn of the same conversation is answered. */
export function idOf(kind: string, conversation: Conversation, index = 0): string {
  const hash = createHash('sha256')
    .update(`${kind} ${conversation.id} ${conversation.position} ${index}`)
    .digest('hex');
  return `${kind}_${hash.slice(0, 24)}`;
}

/** The tokens of a turn: as the script has them, else a quarter of the characters heard and said; null for none. */
export function countTokens(turn: Turn, conversation: Conversation): Counted | null {
  if (turn.usage === 'none') return null;
  if (turn.usage !== undefined) {
    const { input, output, cache_read: cacheRead = 0, cache_write: cacheWrite = 0 } = turn.usage;
    return { input, output, cacheRead, cacheWrite };
  }
  const tools = (turn.tools ?? []).map((tool) => tool.name + JSON.stringify(tool.input)).join('');
  const said = (turn.thinking ?? '').length + (turn.text ?? '').length * (turn.repeat ?? 1) + tools.length;
  return { input: Math.ceil(conversation.text.length / 4), output: Math.ceil(said / 4), cacheRead: 0, cacheWrite: 0 };
}

/** The words of a turn's error. */
export function messageOf(turn: Turn): string {
  const status = turn.error?.status ?? 500;
  const usual: Record<number, string> = {
    401: 'invalid x-api-key',
    429: 'Too many requests for now.',
    500: 'Internal server error',
    529: 'Overloaded',
  };
  return turn.error?.message ?? usual[status] ?? `The script answers ${status}.`;
}

/** What a conversation gets that the script does not have. */
export function beyondScript(conversation: Conversation, why: string): CallFault {
  return new CallFault(400, 'invalid_request', `The scripted model ${conversation.model} ${why}.`);
}
