import type { Accepted } from './accept.ts';
import type { Claim } from './gateway.ts';
import type { ModelRequest } from './model-request.ts';
import type { PriceTable } from './prices.ts';

/** The most of an answer, where neither the request nor the price table knows: what most models of one's own can say. */
export const ASSUMED_OUTPUT = 32_768;
/** What makers add to a request: the frame of its messages, the preamble of tools. */
const PREAMBLE = 1024;
/** The most of a request whose size says nothing, where the table does not know the model's context. */
const ASSUMED_CONTEXT = 2_000_000;

/**
 * The most that a request can use. A token stands for at least one byte, so a request has no more tokens than bytes; some four
 * times more than it will have, which is the price of a promise. Where a request only points at what it asks (a file, an address,
 * an earlier answer, a search of the maker's) its size says nothing, and it is taken for as long as the model allows.
 */
export function claimOf({ route, fullName, asked, size, body }: Accepted, prices: PriceTable): Claim {
  const price = prices.priceOf(fullName);
  const input = pointsElsewhere(asked, body)
    ? Math.max(size, price?.context_tokens ?? ASSUMED_CONTEXT)
    : size + PREAMBLE;
  const { most, times } = outputOf(route.dialect, asked);
  const known = price?.max_output_tokens ?? undefined;
  const output = Math.min(most ?? known ?? ASSUMED_OUTPUT, known ?? Infinity) * times;
  const claim = { model: fullName, dialect: route.dialect, tokens: input + output };
  if (price === undefined) return { ...claim, microdollars: null };
  // What is written into a cache costs more than what is only read.
  const writes = route.dialect !== 'anthropic' || body.includes('"cache_control"');
  const dearest = Math.max(
    price.input,
    writes ? (price.cache_write ?? 0) : 0,
    writes && body.includes('"1h"') ? (price.cache_write_hour ?? 0) : 0,
  );
  const sum = BigInt(input) * BigInt(dearest) + BigInt(output) * BigInt(price.output);
  return { ...claim, microdollars: Number((sum + 999_999n) / 1_000_000n) };
}

const BACKSLASH = 0x5c;

const POINTERS = ['previous_response_id', 'conversation', 'prompt', 'cachedContent', 'cached_content'];
const NEEDLES = [
  '"file_id"',
  '"file_url"',
  '"file_uri"',
  '"fileUri"',
  '"type":"url"',
  '"url":"http',
  '"image_url":"http',
  '"web_search',
  '"web_fetch',
  '"code_interpreter',
  '"file_search',
  '"googleSearch',
  '"google_search',
  '"urlContext',
  '"url_context',
];

function pointsElsewhere(asked: ModelRequest, body: Buffer): boolean {
  return POINTERS.some((name) => asked.value(name) != null) || NEEDLES.some((needle) => mentions(body, needle));
}

/** Whether a body has this as part of its own form; in the text of a conversation its quote has a backslash before. */
function mentions(body: Buffer, needle: string): boolean {
  let at = body.indexOf(needle);
  while (at !== -1 && body[at - 1] === BACKSLASH) at = body.indexOf(needle, at + 1);
  return at !== -1;
}

/** How long an answer may be as the request says, and how many of them it asks for. */
function outputOf(dialect: Claim['dialect'], asked: ModelRequest): { most: number | undefined; times: number } {
  switch (dialect) {
    case 'anthropic':
      // Thoughts between calls of tools may be longer than the answer.
      return { most: largest(asked.value('max_tokens'), member(asked.value('thinking'), 'budget_tokens')), times: 1 };
    case 'openai':
      return {
        most: largest(asked.value('max_completion_tokens'), asked.value('max_tokens')),
        times: largest(asked.value('n')) ?? 1,
      };
    case 'responses':
      return { most: largest(asked.value('max_output_tokens')), times: 1 };
    case 'gemini': {
      // Its servers take both spellings.
      const given = [asked.value('generationConfig'), asked.value('generation_config')];
      const all = (...names: string[]) => given.flatMap((each) => names.map((name) => member(each, name)));
      return {
        most: largest(...all('maxOutputTokens', 'max_output_tokens')),
        times: largest(...all('candidateCount', 'candidate_count')) ?? 1,
      };
    }
  }
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** The largest of what are numbers of tokens at all; nobody counts to more than a hundred million. */
function largest(...values: unknown[]): number | undefined {
  const counts = values.flatMap((value) => {
    const number = typeof value === 'string' ? Number(value) : value;
    return typeof number === 'number' && number >= 1 ? [Math.min(Math.ceil(number), 100_000_000)] : [];
  });
  return counts.length === 0 ? undefined : Math.max(...counts);
}
