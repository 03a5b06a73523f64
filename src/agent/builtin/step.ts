import { isStepCount, type ModelMessage, ToolLoopAgent, type ToolSet } from 'ai';
import { ModelFailure } from './failure.ts';
import type { Model } from './model.ts';

/** What a model did in one step: what it said goes to the listener as it comes, the rest is here. */
export interface StepOutcome {
  /** The answer, to be put behind the conversation. */
  messages: ModelMessage[];
  calls: { id: string; name: string; input: unknown }[];
  finish: 'stop' | 'length' | 'refusal' | 'tools' | 'other';
  /** Tokens the conversation took with this answer; null where the provider did not say. */
  contextTokens: number | null;
}

export interface StepRequest {
  model: Model;
  instructions: string;
  tools: ToolSet;
  messages: readonly ModelMessage[];
  signal: AbortSignal;
  /** How long nothing may come (ms). */
  stallMs: number;
  onText(text: string): void;
  onThought(text: string): void;
}

/**
 * Asks the model once. Tools have no code here, so that the step ends with their calls: nothing is run before the answer is
 * whole, and an answer that breaks off can be asked for again from the same messages.
 *
 * Errors: those of the SDK; see `failureOf`.
 */
export async function takeStep(request: StepRequest): Promise<StepOutcome> {
  const stalled = new AbortController();
  const { model, options, maxOutputTokens } = request.model;
  const agent = new ToolLoopAgent({
    model,
    instructions: { role: 'system', content: request.instructions, providerOptions: CACHED },
    tools: request.tools,
    stopWhen: isStepCount(1),
    maxRetries: 0,
    providerOptions: options,
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    // Failures are parts of the stream; the SDK's own way is to print them.
    onError: () => undefined,
  });
  let timer: NodeJS.Timeout | undefined;
  const alive = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => stalled.abort(), request.stallMs);
  };
  alive();
  try {
    const result = await agent.stream({
      messages: marked(request.messages),
      abortSignal: AbortSignal.any([request.signal, stalled.signal]),
    });
    const outcome: StepOutcome = { messages: [], calls: [], finish: 'other', contextTokens: null };
    let whole = false;
    for await (const part of result.fullStream) {
      alive();
      switch (part.type) {
        case 'text-delta':
          if (part.text !== '') request.onText(part.text);
          break;
        case 'reasoning-delta':
          if (part.text !== '') request.onThought(part.text);
          break;
        case 'tool-call':
          outcome.calls.push({ id: part.toolCallId, name: part.toolName, input: part.input });
          break;
        case 'error':
          throw part.error;
        case 'abort':
          request.signal.throwIfAborted();
          throw new ModelFailure('transient', `The model said nothing for ${Math.round(request.stallMs / 1000)} s.`);
        case 'finish-step':
          // Without the provider's own word the stream just stopped: a proxy may make a clean end of a cut.
          whole = part.rawFinishReason !== undefined;
          outcome.finish = FINISH[part.finishReason] ?? 'other';
          outcome.contextTokens =
            part.usage.inputTokens === undefined ? null : part.usage.inputTokens + (part.usage.outputTokens ?? 0);
          break;
        default:
          break;
      }
    }
    if (!whole) throw new ModelFailure('transient', 'The answer broke off before its end.');
    // Calls whose input could not be read come with an answer of the SDK's own: ours says more.
    outcome.messages = (await result.responseMessages).filter(({ role }) => role === 'assistant');
    return outcome;
  } catch (error) {
    request.signal.throwIfAborted();
    if (stalled.signal.aborted)
      throw new ModelFailure('transient', `The model said nothing for ${Math.round(request.stallMs / 1000)} s.`, {
        cause: error,
      });
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

const FINISH: Record<string, StepOutcome['finish']> = {
  stop: 'stop',
  length: 'length',
  'content-filter': 'refusal',
  'tool-calls': 'tools',
};

/** Marks where Anthropic is to keep what it has read: others read over it. */
const CACHED = { anthropic: { cacheControl: { type: 'ephemeral' } } } as const;

/** The last message and the one before it that was sent are marked: the second finds what the first had left. */
function marked(messages: readonly ModelMessage[]): ModelMessage[] {
  const sent = messages.flatMap(({ role }, index) => (role === 'assistant' ? [] : [index]));
  const marks = new Set(sent.slice(-2));
  return messages.map((message, index) => (marks.has(index) ? { ...message, providerOptions: CACHED } : message));
}
