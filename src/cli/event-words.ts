import type { Event } from '../contract/api.ts';
import { plainLine, plainLines } from './display.ts';
import { lineChange, plural } from './format.ts';

/** What a person reads of an event. */
export type WordKind =
  | 'thinking'
  | 'says'
  | 'tool'
  | 'output'
  | 'plan'
  | 'stderr'
  | 'unparsed'
  | 'note'
  | 'result'
  | 'error'
  | 'status';

export interface Words {
  kind: WordKind;
  /** The variation's index; null for the run as a whole. */
  variation: number | null;
  at: string;
  text: string;
  /** A piece of a text that goes on in the next event of its kind. */
  chunk: boolean;
  /** Said in full transcripts only: too much for a summary. */
  detail: boolean;
  /** What a full transcript adds beneath: a failed tool's whole output. */
  more?: string;
}

/**
 * An event in words, or null where there is nothing to read in it. The ACP message inside is untrusted and of any version:
 * whatever is not as expected is left out, never thrown over. The text is raw: whoever prints it makes it plain.
 */
export function wordsOf(event: Event): Words | null {
  const { data } = event;
  const base = {
    variation: typeof data['variation_id'] === 'number' ? data['variation_id'] : null,
    at: text(data['timestamp']) ?? '',
    chunk: false,
    detail: false,
  };
  const content = text(data['content']);
  const waiting = waitingOf(event);
  if (waiting !== null) return { ...base, kind: 'status', text: `waiting: ${waiting}` };
  switch (event.type) {
    case 'agent_output':
      return outputWords(base, text(data['kind']) ?? '', content, data['message']);
    case 'agent_error':
      return { ...base, kind: 'error', text: content ?? text(data['code']) ?? 'an error without words' };
    case 'agent_complete':
      return {
        ...base,
        kind: 'status',
        text: endWords(text(data['status']) ?? 'ended', text(data['end_reason']), content),
      };
    case 'budget':
      return { ...base, kind: 'status', text: content ?? 'a budget is used up' };
    case 'prompt_queued':
      return { ...base, kind: 'status', text: `told${whenOf(data)}: ${content ?? ''}` };
    case 'prompt_dropped':
      return { ...base, kind: 'note', text: content ?? 'a prompt was given to nobody' };
    case 'variation_status':
      return statusWords(base, text(data['status']));
    case 'run_status': {
      const status = text(data['status']) ?? '';
      // The end is told by run_complete.
      return ['completed', 'failed', 'cancelled'].includes(status)
        ? null
        : { ...base, variation: null, kind: 'status', text: `run ${status}` };
    }
    case 'run_choice':
      return {
        ...base,
        variation: null,
        kind: 'status',
        text: `variation ${String(data['winning_variation_id'])} was chosen${reasonOf(text(data['reason']))}`,
      };
    case 'run_complete':
      return { ...base, variation: null, kind: 'status', text: `run ${text(data['status']) ?? 'over'}` };
    default:
      return null;
  }
}

/** How something ended, in words: `failed (provider_auth): the provider refused the key`. */
export function endWords(status: string, reason: string | null, message: string | null): string {
  const why = reason === null || reason === 'end_turn' || reason === status ? '' : ` (${reason})`;
  return `${status}${why}${message === null || message === '' ? '' : `: ${message}`}`;
}

/** What an attempt waits for before it can start: `Unschedulable: 0/1 nodes are available …`. */
export function waitingWords(waiting: { reason: string; message: string } | null): string | null {
  if (waiting === null) return null;
  const { reason, message } = waiting;
  return message === '' || message.startsWith(reason) ? message || reason : `${reason}: ${message}`;
}

/** The same of an event that tells it; null of all others. */
export function waitingOf({ type, data }: Event): string | null {
  if (type !== 'agent_output' || data['kind'] !== 'note' || field(data['message'], 'code') !== 'waiting') return null;
  const reason = text(field(data['message'], 'reason')) ?? '';
  return waitingWords({ reason, message: (text(data['content']) ?? '').replace(/^Waiting to start: /, '') });
}

type Base = Pick<Words, 'variation' | 'at' | 'chunk' | 'detail'>;

/** When a prompt is done, or from where on. */
function whenOf(data: Record<string, unknown>): string {
  const source = field(data, 'forked_from');
  if (source !== undefined) return ` (from variation ${String(field(source, 'variation_id'))})`;
  return data['becomes'] === 'next_turn' ? ' (after its turn)' : '';
}

function reasonOf(reason: string | null): string {
  return reason === null ? '' : `: ${reason}`;
}

function statusWords(base: Base, status: string | null): Words | null {
  // The ends are told by agent_complete, with their reason.
  if (status === null || ['succeeded', 'failed', 'cancelled'].includes(status)) return null;
  return { ...base, kind: 'status', text: status };
}

function outputWords(base: Base, kind: string, content: string | null, message: unknown): Words | null {
  const update = updateOf(message);
  switch (kind) {
    case 'agent_thought_chunk':
      return content === null ? null : { ...base, kind: 'thinking', text: content, chunk: true };
    case 'agent_message_chunk':
      return content === null ? null : { ...base, kind: 'says', text: content, chunk: true };
    case 'tool_call':
      return { ...base, kind: 'tool', text: toolTitle(update) ?? content ?? 'a tool' };
    case 'tool_call_update':
      return toolUpdate(base, update, content);
    case 'plan':
      return { ...base, kind: 'plan', text: planText(update) ?? content ?? '', detail: true };
    // What an agent tells people beside its answer: a model call that is tried again, a conversation made shorter.
    case 'notice':
      return content === null ? null : { ...base, kind: 'note', text: content };
    case 'stderr':
      return content === null ? null : { ...base, kind: 'stderr', text: content, detail: true };
    case 'unparsed':
      return content === null ? null : { ...base, kind: 'unparsed', text: content, detail: true };
    case 'note':
      return {
        ...base,
        kind: 'note',
        text: content ?? text(field(message, 'message')) ?? text(field(message, 'code')) ?? '',
        detail: true,
      };
    case 'result':
      return { ...base, kind: 'result', text: resultText(message) };
    default:
      return null;
  }
}

/** The `update` of an ACP `session/update` notification, however deep it is wrapped. */
export function updateOf(message: unknown): Record<string, unknown> {
  for (const candidate of [field(field(message, 'params'), 'update'), field(message, 'update'), message]) {
    if (isRecord(candidate) && 'sessionUpdate' in candidate) return candidate;
  }
  return {};
}

function toolTitle(update: Record<string, unknown>): string | null {
  const title = text(update['title']) ?? text(update['name']);
  if (title === null) return null;
  const command = text(field(update['rawInput'], 'command'));
  return command === null || title.includes(command) ? title : `${title}: ${command}`;
}

function toolUpdate(base: Base, update: Record<string, unknown>, content: string | null): Words | null {
  const status = text(update['status']);
  const output = toolOutput(update) ?? content ?? '';
  if (status === 'failed') {
    const said = plainLines(output).filter((line) => line.trim() !== '');
    const last = said.at(-1) ?? '';
    // `[exit code 1]` and the like stand at the end; other tools say what is wrong first.
    const short = /^\[.*\]$/.test(last) ? last : (said[0] ?? toolTitle(update) ?? 'no reason given');
    return { ...base, kind: 'tool', text: `failed: ${short}`, ...(said.length > 1 ? { more: output } : {}) };
  }
  if (status === 'completed' && output !== '') return { ...base, kind: 'output', text: output, detail: true };
  return null;
}

/** The text of a tool call's content blocks and diffs, or of its raw output. */
function toolOutput(update: Record<string, unknown>): string | null {
  const blocks = Array.isArray(update['content']) ? update['content'] : [];
  const parts: string[] = [];
  for (const block of blocks) {
    const inner = text(field(field(block, 'content'), 'text'));
    const path = text(field(block, 'path'));
    if (inner !== null) parts.push(inner);
    else if (field(block, 'type') === 'diff' && path !== null)
      parts.push(`changed ${path.replace(/^\/.*\/workspace\//, '')}`);
  }
  if (parts.length > 0) return parts.join('\n');
  return text(update['rawOutput']) ?? text(field(update['rawOutput'], 'output'));
}

function planText(update: Record<string, unknown>): string | null {
  if (!Array.isArray(update['entries'])) return null;
  return update['entries']
    .map(
      (entry) =>
        `[${field(entry, 'status') === 'completed' ? 'x' : ' '}] ${plainLine(text(field(entry, 'content')) ?? '')}`,
    )
    .join('\n');
}

function resultText(result: unknown): string {
  const files = field(result, 'files');
  const additions = field(result, 'additions');
  const deletions = field(result, 'deletions');
  const known = Array.isArray(files) && typeof additions === 'number' && typeof deletions === 'number';
  return known ? `${plural(files.length, 'file')} changed, ${lineChange(additions, deletions)}` : 'taken';
}

export function field(value: unknown, name: string): unknown {
  return isRecord(value) ? value[name] : undefined;
}

export function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
