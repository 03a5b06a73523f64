import { errorBody, errorEvent } from '../dialect.ts';
import { idOf, type Beat, type Counted } from './beats.ts';
import type { Conversation } from './conversation.ts';
import type { Turn } from './script.ts';

/** OpenAI Responses: an answer as items, each begun, filled and ended by events; thoughts as a summary of the reasoning. */

type Item = Record<string, unknown> & { id: string };

/** The item that is being said. */
interface Open {
  kind: 'thinking' | 'text' | 'tool';
  item: Item;
  said: string;
}

type Part = Exclude<Beat, { type: 'error' }>;

/** As server-sent events. */
export async function* streamResponses(
  parts: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): AsyncGenerator<string> {
  let sequence = 0;
  const frame = (type: string, data: Record<string, unknown>): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...data })}\n\n`;
  const begun = { ...head(conversation), status: 'in_progress', output: [], usage: null };
  yield frame('response.created', { response: begun });
  yield frame('response.in_progress', { response: begun });
  const output: Item[] = [];
  let open = null as Open | null;

  const end = function* (): Generator<string> {
    if (open === null) return;
    const { kind, item, said } = open;
    const at = { item_id: item.id, output_index: output.length };
    const whole = filled(item, said);
    if (kind === 'thinking') {
      yield frame('response.reasoning_summary_text.done', { ...at, summary_index: 0, text: said });
      yield frame('response.reasoning_summary_part.done', { ...at, summary_index: 0, part: summaryOf(said) });
    } else if (kind === 'text') {
      yield frame('response.output_text.done', { ...at, content_index: 0, text: said });
      yield frame('response.content_part.done', { ...at, content_index: 0, part: textPart(said) });
    } else {
      yield frame('response.function_call_arguments.done', { ...at, name: item['name'], arguments: said });
    }
    yield frame('response.output_item.done', { output_index: output.length, item: whole });
    output.push(whole);
    open = null;
  };

  for await (const part of parts) {
    if (part.type === 'error') {
      yield errorEvent('responses', part);
      return;
    }
    const kind = part.type === 'input' ? 'tool' : part.type;
    if (kind !== open?.kind || part.type === 'tool') {
      yield* end();
      const item = startOf(part, conversation, output.length);
      open = { kind, item, said: '' };
      const at = { item_id: item.id, output_index: output.length };
      yield frame('response.output_item.added', { output_index: output.length, item });
      if (kind === 'thinking')
        yield frame('response.reasoning_summary_part.added', { ...at, summary_index: 0, part: summaryOf('') });
      if (kind === 'text') yield frame('response.content_part.added', { ...at, content_index: 0, part: textPart('') });
    }
    if (part.type === 'tool') continue;
    open.said += part.delta;
    const at = { item_id: open.item.id, output_index: output.length };
    if (part.type === 'thinking')
      yield frame('response.reasoning_summary_text.delta', { ...at, summary_index: 0, delta: part.delta });
    else if (part.type === 'text')
      yield frame('response.output_text.delta', { ...at, content_index: 0, delta: part.delta, logprobs: [] });
    else yield frame('response.function_call_arguments.delta', { ...at, delta: part.delta });
  }
  yield* end();
  const response = { ...head(conversation), ...statusOf(turn), output, usage: usageOf(counted) };
  yield frame(`response.${response.status}`, { response });
}

/** As one JSON body. */
export async function bodyResponses(
  parts: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): Promise<string> {
  const output: Item[] = [];
  const said: string[] = [];
  let kind: Part['type'] | null = null;
  for await (const part of parts) {
    if (part.type === 'error') return errorBody('responses', part);
    if (part.type === 'tool' || (part.type !== kind && part.type !== 'input')) {
      output.push(startOf(part, conversation, output.length));
      said.push('');
    }
    if (part.type !== 'tool') said[said.length - 1] += part.delta;
    kind = part.type;
  }
  return JSON.stringify({
    ...head(conversation),
    ...statusOf(turn),
    output: output.map((item, index) => filled(item, said[index] ?? '')),
    usage: usageOf(counted),
  });
}

function startOf(part: Part, conversation: Conversation, index: number): Item {
  switch (part.type) {
    case 'thinking':
      return { id: idOf('rs', conversation, index), type: 'reasoning', summary: [] };
    case 'text':
      return {
        id: idOf('msg', conversation, index),
        type: 'message',
        role: 'assistant',
        status: 'in_progress',
        content: [],
      };
    case 'tool':
      return {
        id: idOf('fc', conversation, index),
        type: 'function_call',
        call_id: part.id,
        name: part.name,
        status: 'in_progress',
        arguments: '',
      };
    case 'input':
      throw new Error('a tool is named before its input');
  }
}

function filled(item: Item, said: string): Item {
  switch (item['type']) {
    case 'reasoning':
      return { ...item, summary: [summaryOf(said)] };
    case 'message':
      return { ...item, status: 'completed', content: [textPart(said)] };
    default:
      return { ...item, status: 'completed', arguments: said };
  }
}

function summaryOf(text: string): Record<string, unknown> {
  return { type: 'summary_text', text };
}

function textPart(text: string): Record<string, unknown> {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

function head(conversation: Conversation): Record<string, unknown> {
  return {
    id: idOf('resp', conversation),
    object: 'response',
    created_at: Math.floor(Date.now() / 1000),
    model: conversation.model,
    error: null,
  };
}

function statusOf(turn: Turn): { status: 'completed' | 'incomplete'; incomplete_details: { reason: string } | null } {
  if (turn.stop === 'length') return { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } };
  if (turn.stop === 'refusal') return { status: 'incomplete', incomplete_details: { reason: 'content_filter' } };
  return { status: 'completed', incomplete_details: null };
}

function usageOf(counted: Counted | null): Record<string, unknown> | null {
  if (counted === null) return null;
  const input = counted.input + counted.cacheRead + counted.cacheWrite;
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: counted.cacheRead },
    output_tokens: counted.output,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: input + counted.output,
  };
}
