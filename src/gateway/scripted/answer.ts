import { CallFault, errorBody, type Dialect, type Route } from '../dialect.ts';
import type { Answer } from '../forward.ts';
import { bodyAnthropic, streamAnthropic } from './anthropic.ts';
import { beats, beyondScript, countTokens, Cut, messageOf, pause, type Beat, type Counted } from './beats.ts';
import { readConversation, type Conversation } from './conversation.ts';
import { bodyGemini, streamGemini } from './gemini.ts';
import { bodyOpenai, streamOpenai } from './openai.ts';
import { bodyResponses, streamResponses } from './responses.ts';
import type { Script, ScriptTurn, ToolCall, Turn } from './script.ts';

export interface ScriptedRequest {
  route: Route;
  /** The script's name for the model that is asked. */
  model: string;
  body: Buffer;
  /** Whose conversation it is, for errors that happen only so often; the same words of two callers are two conversations. */
  conversation: string;
  signal: AbortSignal;
}

/** A model that answers from a script, in any dialect. */
export interface ScriptedModel {
  readonly models: readonly string[];
  /** The answer as a provider would give it; its body throws Cut where the script cuts. Errors: the signal's reason. */
  answer(request: ScriptedRequest): Promise<Answer>;
}

/** How a dialect says a turn. */
interface Speaker {
  stream: (
    parts: AsyncIterable<Beat>,
    turn: Turn,
    conversation: Conversation,
    counted: Counted | null,
  ) => AsyncIterable<string>;
  whole: (
    parts: AsyncIterable<Beat>,
    turn: Turn,
    conversation: Conversation,
    counted: Counted | null,
  ) => Promise<string>;
}

const speakers: Readonly<Record<Dialect, Speaker>> = {
  anthropic: { stream: streamAnthropic, whole: bodyAnthropic },
  openai: { stream: streamOpenai, whole: bodyOpenai },
  responses: { stream: streamResponses, whole: bodyResponses },
  gemini: { stream: streamGemini, whole: bodyGemini },
};

const MAX_REMEMBERED = 10_000;

export function createScriptedModel(script: Script): ScriptedModel {
  const failures = new Map<string, number>();
  return {
    models: Object.keys(script.models),
    async answer({ route, model, body, conversation: whose, signal }) {
      const { dialect } = route;
      try {
        const conversation = readConversation(route, model, body);
        if (route.what === 'count') return count(dialect, conversation);
        const turn = choose(script, conversation, `${whose} ${conversation.id}`, failures);
        return await perform(turn, dialect, conversation, signal);
      } catch (error) {
        if (error instanceof CallFault && !signal.aborted) return failure(dialect, error);
        throw error;
      }
    },
  };
}

function choose(script: Script, conversation: Conversation, whose: string, failures: Map<string, number>): Turn {
  const model = Object.hasOwn(script.models, conversation.model) ? script.models[conversation.model] : undefined;
  if (model === undefined)
    throw new CallFault(
      404,
      'not_found',
      `The script has no model ${conversation.model}. It has ${Object.keys(script.models).join(', ')}.`,
    );
  const chosen = model.conversations.find(({ when }) => holds(conversation.opening, when));
  if (chosen === undefined) throw beyondScript(conversation, 'has no conversation for this prompt');
  const alternatives = chosen.turns[conversation.position];
  if (alternatives === undefined) {
    throw beyondScript(
      conversation,
      `has no turn ${conversation.position + 1} in its script: it ends after turn ${chosen.turns.length}`,
    );
  }
  for (const [index, alternative] of alternatives.entries()) {
    if (!holds(conversation.text, alternative.when)) continue;
    // Who offers none of its tools asks for something else beside its work: a title, a summary.
    const turn = chooseTools(alternative, conversation);
    if (turn === null) continue;
    if (turn.error?.times === undefined) return turn;
    const key = `${whose} ${conversation.model} ${conversation.position} ${index}`;
    const failed = failures.get(key) ?? 0;
    if (failed >= turn.error.times) continue;
    const oldest = failures.keys().next();
    if (failures.size >= MAX_REMEMBERED && oldest.done !== true) failures.delete(oldest.value);
    failures.set(key, failed + 1);
    return turn;
  }
  throw beyondScript(
    conversation,
    `has no alternative in turn ${conversation.position + 1} of its script for this conversation, which offers ${conversation.offered.length === 0 ? 'no tools' : `the tools ${conversation.offered.join(', ')}`}`,
  );
}

/** Of each tool the first that the agent offers, or the only one there is; null where it offers none of several. */
function chooseTools({ tools, ...turn }: ScriptTurn, { offered }: Conversation): Turn | null {
  if (tools === undefined) return turn;
  const chosen: ToolCall[] = [];
  for (const several of tools) {
    const call = several.length === 1 ? several[0] : several.find(({ name }) => offered.includes(name));
    if (call === undefined) return null;
    chosen.push(call);
  }
  return { ...turn, tools: chosen };
}

function holds(text: string, words: string | undefined): boolean {
  return words === undefined || text.toLowerCase().includes(words.toLowerCase());
}

async function perform(turn: Turn, dialect: Dialect, conversation: Conversation, signal: AbortSignal): Promise<Answer> {
  if (turn.first_delay_ms !== undefined) await pause(turn.first_delay_ms, signal);
  if (turn.raw !== undefined) {
    const headers = Object.fromEntries(
      Object.entries(turn.raw.headers).map(([name, value]) => [name.toLowerCase(), value]),
    );
    return { status: turn.raw.status, headers, body: bytes(turn.raw.body) };
  }
  if (turn.error !== undefined && (turn.error.after === undefined || !conversation.stream)) {
    const { status, retry_after: retryAfter } = turn.error;
    return {
      status,
      headers: {
        'content-type': 'application/json',
        ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
      },
      body: bytes(errorBody(dialect, { status, message: messageOf(turn) })),
    };
  }
  const counted = countTokens(turn, conversation);
  const parts = beats(turn, conversation, signal);
  if (conversation.stream) {
    const { stream } = speakers[dialect];
    return {
      status: 200,
      headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' },
      body: encode(stream(parts, turn, conversation, counted)),
    };
  }
  const { whole } = speakers[dialect];
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: wholeBody(() => whole(parts, turn, conversation, counted)),
  };
}

/** A quarter of the characters, as for the turns of a script that name no usage. */
function count(dialect: Dialect, conversation: Conversation): Answer {
  const tokens = Math.ceil(conversation.text.length / 4);
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: bytes(JSON.stringify(dialect === 'gemini' ? { totalTokens: tokens } : { input_tokens: tokens })),
  };
}

function failure(dialect: Dialect, fault: CallFault): Answer {
  return {
    status: fault.status,
    headers: { 'content-type': 'application/json' },
    body: bytes(errorBody(dialect, fault)),
  };
}

async function* wholeBody(make: () => Promise<string>): AsyncGenerator<Buffer> {
  try {
    yield Buffer.from(await make());
  } catch (error) {
    // A body that is cut has a beginning.
    if (error instanceof Cut) yield Buffer.from('{"id":"cut');
    throw error;
  }
}

async function* encode(frames: AsyncIterable<string>): AsyncGenerator<Buffer> {
  for await (const frame of frames) yield Buffer.from(frame);
}

async function* bytes(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}
