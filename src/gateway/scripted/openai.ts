import { errorBody, errorEvent } from '../dialect.ts';
import { idOf, type Beat, type Counted } from './beats.ts';
import type { Conversation } from './conversation.ts';
import type { Turn } from './script.ts';

/** OpenAI Chat Completions: an answer as server-sent events, thoughts as `reasoning_content` as compatible servers have them. */
export async function* streamOpenai(
  parts: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): AsyncGenerator<string> {
  const common = { ...head(conversation), object: 'chat.completion.chunk' };
  const chunk = (delta: Record<string, unknown>, finish: string | null = null): string =>
    frame({
      ...common,
      choices: [{ index: 0, delta, finish_reason: finish }],
      ...(conversation.includeUsage ? { usage: null } : {}),
    });
  yield chunk({ role: 'assistant', content: '' });
  let tool = -1;
  for await (const part of parts) {
    switch (part.type) {
      case 'error':
        yield errorEvent('openai', part);
        return;
      case 'thinking':
        yield chunk({ reasoning_content: part.delta });
        break;
      case 'text':
        yield chunk({ content: part.delta });
        break;
      case 'tool':
        tool++;
        yield chunk({
          tool_calls: [{ index: tool, id: part.id, type: 'function', function: { name: part.name, arguments: '' } }],
        });
        break;
      case 'input':
        yield chunk({ tool_calls: [{ index: tool, function: { arguments: part.delta } }] });
        break;
    }
  }
  yield chunk({}, finishReason(turn));
  if (conversation.includeUsage && counted !== null) yield frame({ ...common, choices: [], usage: usageOf(counted) });
  yield 'data: [DONE]\n\n';
}

/** OpenAI Chat Completions: an answer as one JSON body. */
export async function bodyOpenai(
  parts: AsyncIterable<Beat>,
  turn: Turn,
  conversation: Conversation,
  counted: Counted | null,
): Promise<string> {
  const texts = { thinking: '', text: '' };
  for await (const part of parts) {
    if (part.type === 'error') return errorBody('openai', part);
    if (part.type === 'thinking' || part.type === 'text') texts[part.type] += part.delta;
  }
  const calls = (turn.tools ?? []).map((tool, index) => ({
    id: idOf('call', conversation, index),
    type: 'function',
    function: { name: tool.name, arguments: JSON.stringify(tool.input) },
  }));
  const message = {
    role: 'assistant',
    content: texts.text === '' ? null : texts.text,
    ...(texts.thinking === '' ? {} : { reasoning_content: texts.thinking }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
  return JSON.stringify({
    ...head(conversation),
    object: 'chat.completion',
    choices: [{ index: 0, message, finish_reason: finishReason(turn) }],
    ...(counted === null ? {} : { usage: usageOf(counted) }),
  });
}

function frame(data: Record<string, unknown>): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

function head(conversation: Conversation): Record<string, unknown> {
  return { id: idOf('chatcmpl', conversation), created: Math.floor(Date.now() / 1000), model: conversation.model };
}

function usageOf({ input, output, cacheRead, cacheWrite }: Counted): Record<string, unknown> {
  const prompt = input + cacheRead + cacheWrite;
  return {
    prompt_tokens: prompt,
    completion_tokens: output,
    total_tokens: prompt + output,
    prompt_tokens_details: { cached_tokens: cacheRead },
  };
}

function finishReason(turn: Turn): string {
  if (turn.stop === 'length') return 'length';
  if (turn.stop === 'refusal') return 'content_filter';
  return turn.tools !== undefined && turn.stop === undefined ? 'tool_calls' : 'stop';
}
