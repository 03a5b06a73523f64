import { createHash } from 'node:crypto';
import { z } from 'zod';
import { CallFault, type Dialect } from '../dialect.ts';

/** A request as the scripted model hears it. */
export interface Conversation {
  model: string;
  stream: boolean;
  /** Whether an OpenAI stream is to end with its usage. */
  includeUsage: boolean;
  /** How many answers the conversation holds already. */
  position: number;
  /** All text before the first answer. */
  opening: string;
  /** All text. */
  text: string;
  /** Names the conversation by how it began. */
  id: string;
}

const request = z.looseObject({
  model: z.string(),
  stream: z.boolean().nullish(),
  system: z.unknown().optional(),
  messages: z.array(z.looseObject({ role: z.string() })).min(1),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
});

/** Errors: 400 in words, for what is no request of the dialect. */
export function readConversation(dialect: Dialect, body: Buffer): Conversation {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new CallFault(400, 'invalid_json', 'The request is not JSON.', { cause: error });
  }
  const parsed = request.safeParse(value);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => `${issue.path.map(String).join('.')}: ${issue.message}`);
    throw new CallFault(400, 'invalid_request', lines.join('; '));
  }
  const { model, stream, system, messages, stream_options: options } = parsed.data;
  const first = messages.findIndex((message) => message.role === 'assistant');
  const opening = [
    dialect === 'anthropic' ? textOf(system) : '',
    ...messages.slice(0, first === -1 ? messages.length : first).map(textOf),
  ].join('\n');
  const rest = first === -1 ? [] : messages.slice(first).map(textOf);
  return {
    model,
    stream: stream === true,
    includeUsage: options?.include_usage === true,
    position: messages.filter((message) => message.role === 'assistant').length,
    opening,
    text: [opening, ...rest].join('\n'),
    id: createHash('sha256').update(opening).digest('hex').slice(0, 16),
  };
}

/** Everything said in a message or a part of one: text, thoughts, what tools were given and what they gave. */
function textOf(part: unknown): string {
  if (typeof part === 'string') return part;
  if (Array.isArray(part)) return part.map(textOf).join('\n');
  if (typeof part !== 'object' || part === null) return '';
  const texts: string[] = [];
  for (const [key, value] of Object.entries(part)) {
    if (['text', 'content', 'thinking', 'reasoning_content', 'arguments'].includes(key)) texts.push(textOf(value));
    else if (key === 'input') texts.push(JSON.stringify(value));
    else if (key === 'tool_calls' || key === 'function') texts.push(textOf(value));
  }
  return texts.join('\n');
}
