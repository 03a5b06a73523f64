import { createHash } from 'node:crypto';
import { z } from 'zod';
import { CallFault, type Route } from '../dialect.ts';

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
  /** Names of the tools that the model may call. */
  offered: string[];
  /** Names the conversation by how it began. */
  id: string;
}

const item = z.looseObject({});

const request = z.looseObject({
  model: z.string().optional(),
  stream: z.boolean().nullish(),
  system: z.unknown().optional(),
  instructions: z.unknown().optional(),
  systemInstruction: z.unknown().optional(),
  messages: z
    .array(z.looseObject({ role: z.string() }))
    .min(1)
    .optional(),
  input: z.union([z.string().min(1), z.array(item).min(1)]).optional(),
  contents: z.array(item).min(1).optional(),
  tools: z.array(item).nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
});

/** Tools' names, in all dialects' ways of telling them: `name`, `function.name`, `functionDeclarations[].name`. */
function offeredIn(tools: readonly Record<string, unknown>[]): string[] {
  return tools.flatMap((tool) => {
    const { name, function: inner, functionDeclarations: several } = tool;
    if (Array.isArray(several)) return offeredIn(several.filter(isRecord));
    if (isRecord(inner)) return offeredIn([inner]);
    return typeof name === 'string' ? [name] : [];
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What was said in turn, by the model or by anybody else. */
interface Said {
  byModel: boolean;
  text: string;
}

/** Errors: 400 in words, for what is no request of the dialect. */
export function readConversation({ dialect, named }: Route, modelName: string, body: Buffer): Conversation {
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
  const { stream, stream_options: options } = parsed.data;
  const said = saidIn(dialect, parsed.data);
  const first = said.findIndex(({ byModel }) => byModel);
  const opening = said.slice(0, first === -1 ? said.length : first).map(({ text }) => text);
  const rest = first === -1 ? [] : said.slice(first).map(({ text }) => text);
  return {
    model: modelName,
    stream: named?.stream ?? stream === true,
    includeUsage: options?.include_usage === true,
    position: said.filter(({ byModel }) => byModel).length,
    opening: opening.join('\n'),
    text: [...opening, ...rest].join('\n'),
    offered: offeredIn(parsed.data.tools ?? []),
    id: createHash('sha256').update(opening.join('\n')).digest('hex').slice(0, 16),
  };
}

function saidIn(dialect: Route['dialect'], asked: z.infer<typeof request>): Said[] {
  switch (dialect) {
    case 'anthropic':
    case 'openai': {
      if (asked.messages === undefined) throw missing('messages');
      const said = asked.messages.map((message) => ({ byModel: message.role === 'assistant', text: textOf(message) }));
      return dialect === 'anthropic' ? [{ byModel: false, text: textOf(asked.system) }, ...said] : said;
    }
    case 'responses': {
      if (asked.input === undefined) throw missing('input');
      const items = typeof asked.input === 'string' ? [{ role: 'user', content: asked.input }] : asked.input;
      const said = items.map((each) => ({ byModel: isModels(each), text: textOf(each) }));
      return [{ byModel: false, text: textOf(asked.instructions) }, ...joined(said)];
    }
    case 'gemini': {
      if (asked.contents === undefined) throw missing('contents');
      const said = asked.contents.map((each) => ({ byModel: each['role'] === 'model', text: textOf(each) }));
      return [{ byModel: false, text: textOf(asked.systemInstruction) }, ...joined(said)];
    }
  }
}

/** Of one answer there are several items here: thoughts, text and calls, next to each other. */
function joined(said: readonly Said[]): Said[] {
  const whole: Said[] = [];
  for (const each of said) {
    const last = whole.at(-1);
    if (last?.byModel === true && each.byModel) last.text += `\n${each.text}`;
    else whole.push({ ...each });
  }
  return whole;
}

/** Whether an item of OpenAI's Responses was said by the model. */
function isModels(each: Record<string, unknown>): boolean {
  if (each['role'] !== undefined) return each['role'] === 'assistant';
  return ['reasoning', 'function_call', 'custom_tool_call', 'local_shell_call'].includes(String(each['type']));
}

function missing(name: string): CallFault {
  return new CallFault(400, 'invalid_request', `${name}: there are none`);
}

/** What holds words: text, thoughts, what tools were given and what they gave, in the makers' names for it. */
const WORDS: ReadonlySet<string> = new Set([
  'text',
  'content',
  'thinking',
  'reasoning_content',
  'arguments',
  'tool_calls',
  'function',
  'summary',
  'output',
  'parts',
  'functionCall',
  'functionResponse',
]);
const VALUES: ReadonlySet<string> = new Set(['input', 'args', 'response']);

/** Everything said in a message or a part of one. */
function textOf(part: unknown): string {
  if (typeof part === 'string') return part;
  if (Array.isArray(part)) return part.map(textOf).join('\n');
  if (typeof part !== 'object' || part === null) return '';
  const texts: string[] = [];
  for (const [key, value] of Object.entries(part)) {
    if (WORDS.has(key)) texts.push(textOf(value));
    else if (VALUES.has(key)) texts.push(typeof value === 'string' ? value : JSON.stringify(value));
  }
  return texts.join('\n');
}
