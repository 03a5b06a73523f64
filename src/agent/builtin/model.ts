import type { JSONValue, LanguageModel } from 'ai';
import type { Settings } from './settings.ts';

/** A model and how it is asked. */
export interface Model {
  model: LanguageModel;
  /** As the SDK's `providerOptions`. */
  options: Record<string, Record<string, JSONValue>>;
  /** Most tokens of one answer; undefined where the SDK knows the model's own limit. */
  maxOutputTokens: number | undefined;
}

/** The gateway sets the real key. */
const NO_KEY = 'none';

/** Loads the provider of the dialect, and only that one: each takes a tenth of a second. */
export async function openModel(settings: Settings): Promise<Model> {
  const baseURL = `${settings.baseUrl}/v1`;
  if (settings.dialect === 'openai') {
    const { createOpenAICompatible } = await import('@ai-sdk/openai-compatible');
    const provider = createOpenAICompatible({ name: 'gateway', baseURL, apiKey: NO_KEY, includeUsage: true });
    return { model: provider(settings.model), options: {}, maxOutputTokens: undefined };
  }
  const { createAnthropic } = await import('@ai-sdk/anthropic');
  const provider = createAnthropic({ baseURL, apiKey: NO_KEY });
  const thinking = settings.thinking ? thinkingFor(settings.model) : null;
  return {
    model: provider(settings.model),
    options: { anthropic: thinking === null ? {} : { thinking } },
    // The SDK gives a model that it does not know 4096 tokens: too few to write a file.
    maxOutputTokens: /claude-/.test(settings.model) ? undefined : 16_000,
  };
}

/** Tokens a model with a budget may think. */
const BUDGET = 8000;

/**
 * How a model of Anthropic's protocol is asked to think, so that its thoughts can be read as they come.
 *
 * - Since Claude 4.6 thinking is adaptive; since Opus 4.7 it is left out of the answer unless `display` asks for it.
 * - Fable 5.1, Opus 5.5 and Sonnet 5.5 bind thoughts to what stood before them, and refuse a conversation that was made shorter
 *   unless told to drop such thoughts.
 * - Before Claude 3.7 there is none. Whatever is unknown gets a budget, the oldest form; a refusal turns thinking off.
 *
 * Source: documentation and model table of @ai-sdk/anthropic 4.0.105.
 */
export function thinkingFor(model: string): Record<string, JSONValue> | null {
  if (/claude-(?:instant|v?2|3-(?:opus|sonnet|haiku|5))/.test(model)) return null;
  const [, family = '', major = '', minor = '0'] = /claude-([a-z]+)-(\d+)(?:-(\d)(?!\d))?/.exec(model) ?? [];
  const version = Number(major) + Number(minor) / 10;
  if (version >= 5.1 && !(family === 'haiku')) {
    return { type: 'adaptive', display: 'summarized', blockBinding: { prefixMismatchBehavior: 'drop_block' } };
  }
  if (version >= 4.7) return { type: 'adaptive', display: 'summarized' };
  if (version >= 4.6) return { type: 'adaptive' };
  return { type: 'enabled', budgetTokens: BUDGET };
}
