import { z } from 'zod';
import { unknownUsage, type Metered } from '../usage.ts';
import {
  count,
  describe,
  inputDetails,
  parse,
  reportedError,
  uncached,
  unusualTier,
  word,
  type Reader,
} from './reader.ts';

const data = z.looseObject({
  usage: z
    .looseObject({
      prompt_tokens: count,
      completion_tokens: count,
      prompt_tokens_details: inputDetails,
    })
    .nullish()
    .catch(null),
  choices: z
    .array(z.looseObject({ finish_reason: word }))
    .nullish()
    .catch(null),
  service_tier: word,
  error: z.union([z.string(), reportedError]),
});

/** OpenAI Chat Completions: the usage stands in the last chunk, where the request asked for it. */
export function openaiReader(): Reader {
  const metered: Metered = { usage: { ...unknownUsage }, complete: false, error: null };
  const { usage } = metered;
  return {
    read(text, whole) {
      if (text.trim() === '[DONE]') {
        metered.complete = true;
        return;
      }
      const chunk = parse(data, text);
      if (chunk === undefined) return;
      if (chunk.error != null) metered.error = typeof chunk.error === 'string' ? chunk.error : describe(chunk.error);
      if (whole || chunk.choices?.some((choice) => choice.finish_reason != null)) metered.complete = true;
      usage.beyond ??= unusualTier(chunk.service_tier);
      if (chunk.usage == null) return;
      const details = chunk.usage.prompt_tokens_details;
      usage.input = uncached(chunk.usage.prompt_tokens, details?.cached_tokens, details?.cache_write_tokens);
      usage.cacheRead = details?.cached_tokens ?? null;
      usage.cacheWrite = details?.cache_write_tokens ?? null;
      usage.output = chunk.usage.completion_tokens ?? null;
    },
    // Servers that count as they go (vLLM's continuous_usage_stats) have counted only so far when they are cut.
    result: () => (metered.complete ? metered : { ...metered, usage: { ...usage, output: null } }),
  };
}
