import { z } from 'zod';
import { unknownUsage, type Metered } from '../usage.ts';
import { count, describe, parse, reportedError, unusualTier, word, type Reader } from './reader.ts';

const usageSchema = z
  .looseObject({
    input_tokens: count,
    output_tokens: count,
    cache_read_input_tokens: count,
    cache_creation_input_tokens: count,
    cache_creation: z.looseObject({ ephemeral_1h_input_tokens: count }).nullish().catch(null),
    server_tool_use: z
      .looseObject({ web_search_requests: count, code_execution_requests: count })
      .nullish()
      .catch(null),
    service_tier: word,
    /** `fast` costs more. */
    speed: word,
    /** `us` costs more. */
    inference_geo: word,
  })
  .nullish()
  .catch(null);

const data = z.looseObject({
  type: word,
  message: z.looseObject({ usage: usageSchema }).nullish().catch(null),
  usage: usageSchema,
  error: reportedError,
});

/**
 * Anthropic says the input in `message_start` and the output in `message_delta`, both cumulative; the output of
 * `message_start` is a beginning, not a result.
 */
export function anthropicReader(): Reader {
  const metered: Metered = { usage: { ...unknownUsage }, complete: false, error: null };
  const { usage } = metered;
  const take = (said: z.infer<typeof usageSchema>, final: boolean): void => {
    if (said == null) return;
    usage.input = larger(usage.input, said.input_tokens);
    usage.cacheRead = larger(usage.cacheRead, said.cache_read_input_tokens);
    usage.cacheWrite = larger(usage.cacheWrite, said.cache_creation_input_tokens);
    usage.cacheWriteHour = larger(usage.cacheWriteHour, said.cache_creation?.ephemeral_1h_input_tokens);
    if (final) usage.output = larger(usage.output, said.output_tokens);
    usage.beyond ??= beyond(said);
  };
  return {
    read(text, whole) {
      const event = parse(data, text);
      if (event === undefined) return;
      if (event.type === 'error') metered.error = describe(event.error);
      if (event.type === 'message_start') take(event.message?.usage, false);
      if (event.type === 'message_delta' || whole) take(event.usage, true);
      if (event.type === 'message_stop' || (whole && event.type === 'message')) metered.complete = true;
    },
    result: () => metered,
  };
}

function beyond(said: NonNullable<z.infer<typeof usageSchema>>): string | null {
  if ((said.server_tool_use?.web_search_requests ?? 0) > 0) return 'web search';
  if ((said.server_tool_use?.code_execution_requests ?? 0) > 0) return 'code execution';
  if (said.speed != null && said.speed !== 'standard') return `speed ${said.speed}`;
  if (said.inference_geo === 'us') return 'inference in the US only';
  return unusualTier(said.service_tier);
}

function larger(known: number | null, said: number | null | undefined): number | null {
  return said == null ? known : Math.max(known ?? 0, said);
}
