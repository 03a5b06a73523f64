import { errorBody, errorEvent } from '../dialect.ts';
import { idOf, type Beat, type Counted } from './beats.ts';
import type { Conversation } from './conversation.ts';
import type { Turn } from './script.ts';

/** Anthropic Messages: an answer as server-sent events. */
export async function* streamAnthropic(
  parts: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): AsyncGenerator<string> {
  yield frame('message_start', {
    message: {
      ...head(conversation),
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: { ...inputUsage(counted), output_tokens: 1 },
    },
  });
  yield frame('ping', {});
  let index = -1;
  let open: 'thinking' | 'text' | 'tool' | null = null;
  const close = function* (): Generator<string> {
    if (open === 'thinking')
      yield frame('content_block_delta', {
        index,
        delta: { type: 'signature_delta', signature: signature(conversation) },
      });
    if (open !== null) yield frame('content_block_stop', { index });
    open = null;
  };
  for await (const part of parts) {
    if (part.type === 'error') {
      yield errorEvent('anthropic', part);
      return;
    }
    const kind = part.type === 'input' ? 'tool' : part.type;
    if (kind !== open || part.type === 'tool') {
      yield* close();
      index++;
      open = kind;
      yield frame('content_block_start', { index, content_block: startOf(part) });
    }
    if (part.type === 'thinking')
      yield frame('content_block_delta', { index, delta: { type: 'thinking_delta', thinking: part.delta } });
    if (part.type === 'text')
      yield frame('content_block_delta', { index, delta: { type: 'text_delta', text: part.delta } });
    if (part.type === 'input')
      yield frame('content_block_delta', { index, delta: { type: 'input_json_delta', partial_json: part.delta } });
  }
  yield* close();
  yield frame('message_delta', {
    delta: { stop_reason: stopReason(turn), stop_sequence: null },
    usage: counted === null ? {} : { output_tokens: counted.output },
  });
  yield frame('message_stop', {});
}

/** Anthropic Messages: an answer as one JSON body. */
export async function bodyAnthropic(
  parts: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): Promise<string> {
  const content: Array<Record<string, unknown>> = [];
  const texts = { thinking: '', text: '' };
  for await (const part of parts) {
    if (part.type === 'error') return errorBody('anthropic', part);
    if (part.type === 'thinking' || part.type === 'text') texts[part.type] += part.delta;
  }
  if (texts.thinking !== '')
    content.push({ type: 'thinking', thinking: texts.thinking, signature: signature(conversation) });
  if (texts.text !== '') content.push({ type: 'text', text: texts.text });
  for (const [index, tool] of (turn.tools ?? []).entries())
    content.push({ type: 'tool_use', id: idOf('call', conversation, index), name: tool.name, input: tool.input });
  const usage = counted === null ? {} : { ...inputUsage(counted), output_tokens: counted.output };
  return JSON.stringify({ ...head(conversation), content, stop_reason: stopReason(turn), stop_sequence: null, usage });
}

function frame(type: string, data: Record<string, unknown>): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
}

function head(conversation: Conversation): Record<string, unknown> {
  return { id: idOf('msg', conversation), type: 'message', role: 'assistant', model: conversation.model };
}

function startOf(part: Exclude<Beat, { type: 'error' }>): Record<string, unknown> {
  if (part.type === 'tool') return { type: 'tool_use', id: part.id, name: part.name, input: {} };
  return part.type === 'thinking' ? { type: 'thinking', thinking: '', signature: '' } : { type: 'text', text: '' };
}

function inputUsage(counted: Counted | null): Record<string, number> {
  if (counted === null) return {};
  return {
    input_tokens: counted.input,
    cache_creation_input_tokens: counted.cacheWrite,
    cache_read_input_tokens: counted.cacheRead,
  };
}

/** A real one proves to the provider that the thought is its own; this one only has its place. */
function signature(conversation: Conversation): string {
  return Buffer.from(idOf('scripted', conversation)).toString('base64');
}

function stopReason(turn: Turn): string {
  if (turn.stop === 'length') return 'max_tokens';
  if (turn.stop === 'refusal') return 'refusal';
  return turn.tools !== undefined && turn.stop === undefined ? 'tool_use' : 'end_turn';
}
