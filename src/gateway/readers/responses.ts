import { z } from 'zod';
import { unknownUsage, type Metered } from '../usage.ts';
import { count, describe, inputDetails, parse, uncached, unusualTier, word, type Reader } from './reader.ts';

const failure = z.looseObject({ code: word, message: word }).nullish().catch(null);

const answer = z.looseObject({
  status: word,
  service_tier: word,
  usage: z
    .looseObject({
      input_tokens: count,
      output_tokens: count,
      input_tokens_details: inputDetails,
    })
    .nullish()
    .catch(null),
  output: z
    .array(z.looseObject({ type: word }))
    .nullish()
    .catch(null),
  error: failure,
});

const event = z.looseObject({
  type: word,
  code: word,
  message: word,
  response: answer.nullish().catch(null),
  item: z.looseObject({ type: word }).nullish().catch(null),
});

/** What the provider does itself and bills beside tokens, by the type of its output item. */
const billedItems: Readonly<Record<string, string>> = {
  web_search_call: 'web search',
  file_search_call: 'file search',
  code_interpreter_call: 'code interpreter',
  image_generation_call: 'image generation',
};

/** OpenAI Responses: the whole answer, its usage included, stands in the last event (`response.completed` and its like). */
export function responsesReader(): Reader {
  const metered: Metered = { usage: { ...unknownUsage }, complete: false, error: null };
  const { usage } = metered;
  const take = (said: z.infer<typeof answer>): void => {
    metered.complete = true;
    usage.beyond ??= unusualTier(said.service_tier);
    for (const { type } of said.output ?? []) usage.beyond ??= billedItems[type ?? ''] ?? null;
    if (said.error != null) metered.error = describe({ type: said.error.code, message: said.error.message });
    if (said.usage == null) return;
    const details = said.usage.input_tokens_details;
    usage.input = uncached(said.usage.input_tokens, details?.cached_tokens, details?.cache_write_tokens);
    usage.cacheRead = details?.cached_tokens ?? null;
    usage.cacheWrite = details?.cache_write_tokens ?? null;
    usage.output = said.usage.output_tokens ?? null;
  };
  return {
    read(text, whole) {
      if (whole) {
        const body = parse(answer, text);
        if (body !== undefined) take(body);
        return;
      }
      const said = parse(event, text);
      if (said === undefined) return;
      switch (said.type) {
        case 'response.completed':
        case 'response.incomplete':
        case 'response.failed':
          if (said.response != null) take(said.response);
          break;
        case 'response.output_item.done':
          usage.beyond ??= billedItems[said.item?.type ?? ''] ?? null;
          break;
        case 'error':
          metered.error = describe({ type: said.code, message: said.message });
          break;
        default:
      }
    },
    result: () => metered,
  };
}
