import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import type { Dialect } from './dialect.ts';
import type { Tokens } from './gateway.ts';

/** Tokens as the provider counted them, and what else bears on the price. */
export interface Usage extends Tokens {
  /** Of `cacheWrite`: those kept for an hour (Anthropic), which cost more. */
  cacheWriteHour: number | null;
  /** What was used besides tokens at the usual rate (`service tier priority`, `web search`): no table of ours prices it. */
  beyond: string | null;
}

export const unknownUsage: Usage = {
  input: null,
  output: null,
  cacheRead: null,
  cacheWrite: null,
  cacheWriteHour: null,
  beyond: null,
};
export const noUsage: Usage = { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, cacheWriteHour: 0, beyond: null };

export interface Metered {
  usage: Usage;
  /** Whether the answer came to its own end. */
  complete: boolean;
  /** An error that the provider reported in its stream. It may hold a secret: mask it. */
  error: string | null;
}

/** Listens to an answer's bytes as they pass. */
export interface Meter {
  feed(chunk: Uint8Array): void;
  /** Whether the bytes so far end where an event of the stream ends. */
  atBoundary(): boolean;
  end(): Metered;
}

/** An event, or an answer that is not a stream, beyond this many characters is passed on but not read. */
const MAX_READ = 32 * 1024 * 1024;

/** A meter for one answer: of server-sent events where `stream`, else of one JSON body. */
export function createMeter(dialect: Dialect, stream: boolean): Meter {
  const reader = dialect === 'anthropic' ? anthropicReader() : openaiReader();
  return stream ? streamMeter(reader) : bodyMeter(reader);
}

interface Reader {
  /** One event's data, or the whole body. */
  read(data: string, whole: boolean): void;
  result(): Metered;
}

function streamMeter(reader: Reader): Meter {
  const decoder = new TextDecoder();
  let readable = true;
  let tail = '';
  const parser = createParser({
    maxBufferSize: MAX_READ,
    onEvent: ({ data }) => reader.read(data, false),
    onError: (error) => {
      if (error.type === 'max-buffer-size-exceeded') readable = false;
    },
  });
  return {
    feed(chunk) {
      const text = decoder.decode(chunk, { stream: true });
      tail = (tail + text.slice(-4)).slice(-4);
      if (readable) parser.feed(text);
    },
    atBoundary: () => tail === '' || /(?:\n\n|\r\r|\r\n\r\n)$/.test(tail),
    end: () => reader.result(),
  };
}

function bodyMeter(reader: Reader): Meter {
  const chunks: Uint8Array[] = [];
  let size = 0;
  return {
    feed(chunk) {
      size += chunk.length;
      if (size <= MAX_READ) chunks.push(chunk);
      else chunks.length = 0;
    },
    atBoundary: () => false,
    end() {
      if (size <= MAX_READ) reader.read(Buffer.concat(chunks).toString('utf8'), true);
      return reader.result();
    },
  };
}

const count = z.int().min(0).nullish().catch(null);
const word = z.string().nullish().catch(null);
const reportedError = z.looseObject({ type: word, message: word }).nullish().catch(null);

const anthropicUsage = z
  .looseObject({
    input_tokens: count,
    output_tokens: count,
    cache_read_input_tokens: count,
    cache_creation_input_tokens: count,
    cache_creation: z.looseObject({ ephemeral_1h_input_tokens: count }).nullish().catch(null),
    server_tool_use: z.looseObject({ web_search_requests: count }).nullish().catch(null),
    service_tier: word,
  })
  .nullish()
  .catch(null);

const anthropicData = z.looseObject({
  type: word,
  message: z.looseObject({ usage: anthropicUsage }).nullish().catch(null),
  usage: anthropicUsage,
  error: reportedError,
});

/**
 * Anthropic says the input in `message_start` and the output in `message_delta`, both cumulative; the output of
 * `message_start` is a beginning, not a result.
 */
function anthropicReader(): Reader {
  const metered: Metered = { usage: { ...unknownUsage }, complete: false, error: null };
  const { usage } = metered;
  const take = (said: z.infer<typeof anthropicUsage>, final: boolean): void => {
    if (said == null) return;
    usage.input = larger(usage.input, said.input_tokens);
    usage.cacheRead = larger(usage.cacheRead, said.cache_read_input_tokens);
    usage.cacheWrite = larger(usage.cacheWrite, said.cache_creation_input_tokens);
    usage.cacheWriteHour = larger(usage.cacheWriteHour, said.cache_creation?.ephemeral_1h_input_tokens);
    if (final) usage.output = larger(usage.output, said.output_tokens);
    if ((said.server_tool_use?.web_search_requests ?? 0) > 0) usage.beyond = 'web search';
    usage.beyond ??= unusualTier(said.service_tier);
  };
  return {
    read(text, whole) {
      const data = parse(anthropicData, text);
      if (data === undefined) return;
      if (data.type === 'error') metered.error = describe(data.error);
      if (data.type === 'message_start') take(data.message?.usage, false);
      if (data.type === 'message_delta' || whole) take(data.usage, true);
      if (data.type === 'message_stop' || (whole && data.type === 'message')) metered.complete = true;
    },
    result: () => metered,
  };
}

const openaiData = z.looseObject({
  usage: z
    .looseObject({
      prompt_tokens: count,
      completion_tokens: count,
      prompt_tokens_details: z.looseObject({ cached_tokens: count }).nullish().catch(null),
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

/** OpenAI counts cached tokens into `prompt_tokens`; here `input` is without them, so that each is priced as what it is. */
function openaiReader(): Reader {
  const metered: Metered = { usage: { ...unknownUsage }, complete: false, error: null };
  const { usage } = metered;
  return {
    read(text, whole) {
      if (text.trim() === '[DONE]') {
        metered.complete = true;
        return;
      }
      const data = parse(openaiData, text);
      if (data === undefined) return;
      if (data.error != null) metered.error = typeof data.error === 'string' ? data.error : describe(data.error);
      if (whole || data.choices?.some((choice) => choice.finish_reason != null)) metered.complete = true;
      usage.beyond ??= unusualTier(data.service_tier);
      if (data.usage == null) return;
      const cached = data.usage.prompt_tokens_details?.cached_tokens ?? null;
      const prompt = data.usage.prompt_tokens ?? null;
      usage.input = prompt === null ? null : Math.max(0, prompt - (cached ?? 0));
      usage.cacheRead = cached;
      usage.output = data.usage.completion_tokens ?? null;
    },
    // Servers that count as they go (vLLM's continuous_usage_stats) have counted only so far when they are cut.
    result: () => (metered.complete ? metered : { ...metered, usage: { ...usage, output: null } }),
  };
}

function larger(known: number | null, said: number | null | undefined): number | null {
  return said == null ? known : Math.max(known ?? 0, said);
}

function unusualTier(tier: string | null | undefined): string | null {
  return tier == null || ['default', 'standard', 'auto'].includes(tier) ? null : `service tier ${tier}`;
}

function describe(
  error: { type?: string | null | undefined; message?: string | null | undefined } | null | undefined,
): string {
  return [error?.type, error?.message].filter((part) => part != null).join(': ') || 'an error without a word';
}

function parse<Schema extends z.ZodType>(schema: Schema, text: string): z.infer<Schema> | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
