import { randomUUID } from 'node:crypto';
import type { SessionUpdate, StopReason, ToolCallContent } from '@agentclientprotocol/sdk';
import type { ModelMessage, ToolResultPart, ToolSet } from 'ai';
import type { z } from 'zod';
import { estimateTokens, partAt, shortenResults, SUMMARY_REQUEST, summaryMessage, transcriptOf } from './compaction.ts';
import { ModelFailure } from './failure.ts';
import type { Model } from './model.ts';
import { withRetries } from './retry.ts';
import type { Settings } from './settings.ts';
import { takeStep, type StepOutcome } from './step.ts';
import { prepareCall, tools as ownTools } from './tools/toolset.ts';

/** A conversation that goes on over several prompts. */
export interface Conversation {
  cwd: string;
  instructions: string;
  messages: readonly ModelMessage[];
  /** Tokens of the conversation at the last answer, as the provider counted. */
  countedTokens: number | null;
  /** How many messages those were. */
  countedMessages: number;
}

export interface TurnOptions {
  settings: Settings;
  model: Model;
  conversation: Conversation;
  prompt: string;
  signal: AbortSignal;
  say(update: SessionUpdate): void;
}

/** What remains of the limit once a conversation was made shorter. */
const AFTER_SHORTENING = 0.7;
const KEPT_AFTER_SUMMARY = 0.25;

/**
 * Works on one prompt: asks the model, runs its tools, until it has nothing more to do.
 *
 * @returns ACP's stop reason. Rejects with a ModelFailure where the provider failed for good.
 */
export async function runTurn(options: TurnOptions): Promise<StopReason> {
  const { settings, conversation, signal, say } = options;
  const tools = toolDefinitions();
  conversation.messages = [...conversation.messages, { role: 'user', content: options.prompt }];
  try {
    for (let step = 0; step < settings.maxSteps; step += 1) {
      if (tokensOf(conversation) > settings.contextTokens) await compact(options, false);
      const outcome = await ask(options, tools);
      conversation.messages = [...conversation.messages, ...outcome.messages];
      conversation.countedTokens = outcome.contextTokens;
      conversation.countedMessages = conversation.messages.length;
      say({ sessionUpdate: 'usage_update', used: tokensOf(conversation), size: settings.contextTokens });
      if (outcome.calls.length === 0) return stopOf(outcome);
      await runCalls(options, outcome);
    }
    return 'max_turn_requests';
  } catch (error) {
    if (signal.aborted) return 'cancelled';
    throw error;
  }
}

function stopOf({ finish }: StepOutcome): StopReason {
  if (finish === 'length') return 'max_tokens';
  return finish === 'refusal' ? 'refusal' : 'end_turn';
}

function toolDefinitions(): ToolSet {
  // Without `execute`: the answer ends with the calls, and they are run here once it is whole.
  const define = ({ description, schema }: { description: string; schema: z.ZodType }): ToolSet[string] => ({
    description,
    inputSchema: schema,
  });
  const { bash, read, write, edit, search } = ownTools;
  return { bash: define(bash), read: define(read), write: define(write), edit: define(edit), search: define(search) };
}

/** One answer of the model, however often it takes. A conversation that the provider finds too long is made shorter, once. */
async function ask(options: TurnOptions, tools: ToolSet): Promise<StepOutcome> {
  const { settings, conversation, signal, say } = options;
  let compacted = false;
  const once = (): Promise<StepOutcome> => {
    const messageId = randomUUID();
    const chunk = (sessionUpdate: 'agent_message_chunk' | 'agent_thought_chunk') => (text: string) =>
      say({ sessionUpdate, messageId, content: { type: 'text', text } });
    return takeStep({
      model: options.model,
      instructions: conversation.instructions,
      tools,
      messages: conversation.messages,
      signal,
      stallMs: settings.stallMs,
      onText: chunk('agent_message_chunk'),
      onThought: chunk('agent_thought_chunk'),
    });
  };
  for (;;) {
    try {
      return await retried(options, once);
    } catch (error) {
      if (!(error instanceof ModelFailure) || error.kind !== 'provider') throw error;
      if (
        /too long|too large|context.{0,20}(?:length|window|limit)|maximum.{0,20}tokens/i.test(error.message) &&
        !compacted
      ) {
        compacted = true;
        await compact(options, true);
        continue;
      }
      const { anthropic } = options.model.options;
      if (anthropic?.['thinking'] !== undefined && /thinking/i.test(error.message)) {
        delete anthropic['thinking'];
        say({
          sessionUpdate: 'notice',
          severity: 'warning',
          title: 'The model does not take the setting for thinking: going on without it.',
          description: error.message,
        });
        continue;
      }
      throw error;
    }
  }
}

function retried<T>({ settings, signal, say }: TurnOptions, work: () => Promise<T>): Promise<T> {
  const onRetry = (failure: ModelFailure, waitMs: number, next: number, most: number): void =>
    say({
      sessionUpdate: 'notice',
      severity: 'warning',
      title: `The model call failed: ${failure.message.slice(0, 300)}. Trying again in ${Math.round(waitMs / 100) / 10} s (${next} of ${most}).`,
    });
  return withRetries({ firstMs: settings.retryMs, signal, onRetry }, work);
}

/** Runs the calls of an answer, one after the other: the second may build on the first. Every call gets a result, cancelled ones too. */
async function runCalls({ conversation, signal, say }: TurnOptions, { calls }: StepOutcome): Promise<void> {
  const content: ToolResultPart[] = [];
  try {
    for (const { id, name, input } of calls) {
      const view = prepareCall(name, input, { cwd: conversation.cwd, signal });
      say({
        sessionUpdate: 'tool_call',
        toolCallId: id,
        title: view.title,
        kind: view.kind,
        status: 'pending',
        rawInput: input,
        locations: view.locations,
      });
      say({ sessionUpdate: 'tool_call_update', toolCallId: id, status: 'in_progress' });
      try {
        const outcome = await view.run();
        const text: ToolCallContent[] = [{ type: 'content', content: { type: 'text', text: outcome.text } }];
        say({
          sessionUpdate: 'tool_call_update',
          toolCallId: id,
          status: outcome.failed ? 'failed' : 'completed',
          content: outcome.content ?? text,
        });
        content.push(resultOf(id, name, outcome.text, outcome.failed));
      } catch (error) {
        say({
          sessionUpdate: 'tool_call_update',
          toolCallId: id,
          status: 'failed',
          content: [{ type: 'content', content: { type: 'text', text: '[cancelled]' } }],
        });
        throw error;
      }
    }
  } finally {
    for (const { id, name } of calls.slice(content.length))
      content.push(resultOf(id, name, '[cancelled before it was done]', true));
    conversation.messages = [...conversation.messages, { role: 'tool', content }];
  }
}

function resultOf(toolCallId: string, toolName: string, value: string, failed: boolean): ToolResultPart {
  return { type: 'tool-result', toolCallId, toolName, output: { type: failed ? 'error-text' : 'text', value } };
}

/** As the provider counted, and an estimate of what came since. */
function tokensOf({ messages, countedTokens, countedMessages }: Conversation): number {
  return countedTokens === null
    ? estimateTokens(messages)
    : countedTokens + estimateTokens(messages.slice(countedMessages));
}

/** Makes the conversation shorter: first old results, then, where that is not enough, all that is old. */
async function compact(options: TurnOptions, force: boolean): Promise<void> {
  const { settings, conversation, say } = options;
  const before = tokensOf(conversation);
  const shorter = shortenResults(conversation.messages);
  const saved = estimateTokens(conversation.messages) - estimateTokens(shorter);
  if (shorter !== conversation.messages) {
    replace(conversation, shorter);
    const after = before - saved;
    conversation.countedTokens = after;
    conversation.countedMessages = shorter.length;
    say({
      sessionUpdate: 'notice',
      severity: 'info',
      title: `The conversation is long (about ${before} tokens): old results of tools were shortened to about ${after}.`,
    });
    if (!force && after <= settings.contextTokens * AFTER_SHORTENING) return;
  }
  const at = partAt(conversation.messages, settings.contextTokens * KEPT_AFTER_SUMMARY);
  if (at === null) return;
  await summarize(options, at);
}

async function summarize(options: TurnOptions, at: number): Promise<void> {
  const { settings, conversation, signal, say } = options;
  const compactionId = randomUUID();
  say({ sessionUpdate: 'compaction_update', compactionId, status: 'in_progress' });
  const old = conversation.messages.slice(0, at);
  let summary = '';
  try {
    await retried(options, () => {
      summary = '';
      return takeStep({
        model: options.model,
        instructions: 'You summarize the work of a coding agent.',
        tools: {},
        messages: [
          {
            role: 'user',
            content: `${SUMMARY_REQUEST}\n\n<work>\n${transcriptOf(old, settings.contextTokens * 2)}\n</work>`,
          },
        ],
        signal,
        stallMs: settings.stallMs,
        onText: (text) => {
          summary += text;
        },
        onThought: () => undefined,
      });
    });
  } catch (error) {
    say({
      sessionUpdate: 'compaction_update',
      compactionId,
      status: signal.aborted ? 'cancelled' : 'failed',
      error: error instanceof Error ? error.message : String(error),
    });
    throw error;
  }
  replace(conversation, [summaryMessage(old[0], summary), ...conversation.messages.slice(at)]);
  say({
    sessionUpdate: 'compaction_update',
    compactionId,
    status: 'completed',
    summary: [{ type: 'text', text: summary }],
  });
}

function replace(conversation: Conversation, messages: readonly ModelMessage[]): void {
  conversation.messages = messages;
  conversation.countedTokens = null;
  conversation.countedMessages = 0;
}
