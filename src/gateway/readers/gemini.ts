import { z } from 'zod';
import { unknownUsage, type Metered } from '../usage.ts';
import { count, describe, parse, uncached, word, type Reader } from './reader.ts';

const chunk = z.looseObject({
  usageMetadata: z
    .looseObject({
      promptTokenCount: count,
      candidatesTokenCount: count,
      thoughtsTokenCount: count,
      cachedContentTokenCount: count,
      toolUsePromptTokenCount: count,
      trafficType: word,
    })
    .nullish()
    .catch(null),
  candidates: z
    .array(z.looseObject({ finishReason: word, groundingMetadata: z.unknown().optional() }))
    .nullish()
    .catch(null),
  promptFeedback: z.looseObject({ blockReason: word }).nullish().catch(null),
  error: z.looseObject({ status: word, message: word }).nullish().catch(null),
});

/**
 * Gemini repeats the usage in every chunk, cumulative: the last one counts, and only in an answer that came to its end.
 * Thoughts are counted beside the answer and priced as output.
 */
export function geminiReader(): Reader {
  const metered: Metered = { usage: { ...unknownUsage }, complete: false, error: null };
  const { usage } = metered;
  return {
    read(text) {
      const said = parse(chunk, text);
      if (said === undefined) return;
      if (said.error != null) metered.error = describe({ type: said.error.status, message: said.error.message });
      if (said.promptFeedback?.blockReason != null) metered.complete = true;
      for (const candidate of said.candidates ?? []) {
        if (candidate.finishReason != null) metered.complete = true;
        if (candidate.groundingMetadata != null) usage.beyond ??= 'search';
      }
      const counted = said.usageMetadata;
      if (counted == null) return;
      const cached = counted.cachedContentTokenCount ?? null;
      const prompt = counted.promptTokenCount ?? null;
      usage.input = uncached(prompt === null ? null : prompt + (counted.toolUsePromptTokenCount ?? 0), cached);
      usage.cacheRead = cached;
      const candidates = counted.candidatesTokenCount ?? null;
      const thoughts = counted.thoughtsTokenCount ?? null;
      usage.output = candidates === null && thoughts === null ? null : (candidates ?? 0) + (thoughts ?? 0);
      if (counted.trafficType != null && counted.trafficType !== 'ON_DEMAND')
        usage.beyond ??= `traffic type ${counted.trafficType}`;
    },
    result: () => {
      // A prompt that was blocked got no answer: that is a count, too.
      if (metered.complete)
        return { ...metered, usage: { ...usage, output: usage.output ?? (usage.input === null ? null : 0) } };
      return { ...metered, usage: { ...usage, output: null } };
    },
  };
}
