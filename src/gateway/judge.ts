import { CallFault, refusedBeforeWork, type Dialect } from './dialect.ts';
import { shown, type Answer } from './forward.ts';
import type { ProviderConfig } from './gateway.ts';
import type { Mask } from './mask.ts';

const MAX_ERROR_BYTES = 64 * 1024;
const SNIPPET = 200;

/** An answer that may go on to the agent. */
export interface Judged {
  status: number;
  headers: Record<string, string>;
  body: AsyncIterable<Buffer>;
  /** Whether it is a stream of events. */
  stream: boolean;
  /** The provider's own error, for the record. */
  error: { note: string; nothingSpent: boolean } | null;
}

interface Case {
  dialect: Dialect;
  providerName: string;
  provider: ProviderConfig;
  mask: Mask;
}

/**
 * Tells an answer that agents understand from one that only looks like one: a login page, a redirect, an error of
 * something between here and the provider. Errors: CallFault in place of those, and where the provider refused the key.
 */
export async function judge(answer: Answer, call: Case): Promise<Judged> {
  const { status } = answer;
  const { providerName, provider, mask } = call;
  if (status >= 300 && status < 400) {
    const target = mask.text(redirectTarget(answer.headers['location'], provider.baseUrl));
    throw new CallFault(
      502,
      'provider_error',
      `The provider ${providerName} at ${shown(provider.baseUrl)} redirects to ${target}, and the gateway does not take a key there. Set providers.${providerName}.base_url to where it should go.`,
      { nothingSpent: true },
    );
  }
  const type = (answer.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const encoding = answer.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw strange(call, status, `an answer in ${encoding}, although it was asked for a plain one`);
  }
  if (status >= 400) return judgeError(answer, call, type);
  if (status >= 200 && type === 'text/event-stream') {
    return { status, headers: passed(answer.headers, mask, false), body: answer.body, stream: true, error: null };
  }
  const chunks = answer.body[Symbol.asyncIterator]();
  const first = await firstText(chunks);
  if (
    status >= 200 &&
    (type === 'application/json' || type.endsWith('+json')) &&
    first.toString('latin1').trimStart().startsWith('{')
  ) {
    return {
      status,
      headers: passed(answer.headers, mask, true),
      body: chain(first, chunks),
      stream: false,
      error: null,
    };
  }
  throw strange(call, status, what(type, mask.text(first.toString('utf8'))));
}

async function judgeError(answer: Answer, call: Case, type: string): Promise<Judged> {
  const { status } = answer;
  const { providerName, provider, mask } = call;
  const text = mask.text(await errorText(answer.body));
  const said = errorMessage(text);
  // Gemini says of a wrong key that the request was not valid.
  const wrongKey = status === 400 && text.includes('API_KEY_INVALID');
  if (status === 401 || status === 403 || wrongKey) {
    throw new CallFault(
      wrongKey ? 401 : status,
      'provider_key_refused',
      `The provider ${providerName} refused AIdeator's key: ${said ?? what(type, text)}`,
      {
        note: `provider refused the key (${provider.keyFrom === null ? 'none is set' : `from ${provider.keyFrom}`}): ${status} ${said ?? what(type, text)}`,
        nothingSpent: true,
      },
    );
  }
  if (said === undefined) {
    // What stands before a provider says 429 and 5xx too, and clients must see those to wait and try again.
    throw strange(call, status, what(type, text), answer.headers['retry-after']);
  }
  const headers = passed(answer.headers, mask, false);
  // Gemini says in the body how long to wait.
  const wait = /"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"/.exec(text)?.[1];
  if (wait !== undefined) headers['retry-after'] ??= String(Math.ceil(Number(wait)));
  return {
    status,
    headers,
    body: chain(Buffer.from(text)),
    stream: false,
    error: { note: `provider answered ${status}: ${said}`, nothingSpent: refusedBeforeWork(status) },
  };
}

function strange({ providerName, provider }: Case, status: number, came: string, retryAfter?: string): CallFault {
  return new CallFault(
    status === 429 || status >= 500 ? status : 502,
    'provider_error',
    `The provider ${providerName} at ${shown(provider.baseUrl)} answered ${status} with ${came}. Check that providers.${providerName}.base_url leads to its API.`,
    { nothingSpent: refusedBeforeWork(status), retryAfter },
  );
}

function what(type: string, text: string): string {
  const start = text.replaceAll(/\s+/g, ' ').trim();
  const kind = type === '' ? 'no content type' : type;
  return start === ''
    ? `${kind} and nothing in it`
    : `${kind}: ${start.length > SNIPPET ? `${start.slice(0, SNIPPET)}…` : start}`;
}

/** The message of a JSON error body in any dialect, or of the looser kinds that compatible servers send; undefined for no JSON object. */
function errorMessage(text: string): string | undefined {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined;
  const error: unknown = 'error' in body ? body.error : body;
  if (typeof error === 'string') return error;
  if (typeof error === 'object' && error !== null) {
    const kind = 'type' in error ? error.type : 'status' in error ? error.status : undefined;
    const type = typeof kind === 'string' ? `${kind}: ` : '';
    if ('message' in error && typeof error.message === 'string') return `${type}${error.message}`.slice(0, 1000);
  }
  return text.slice(0, SNIPPET);
}

async function errorText(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MAX_ERROR_BYTES) break;
  }
  return Buffer.concat(chunks).subarray(0, MAX_ERROR_BYTES).toString('utf8');
}

/** The bytes up to the first that is no white space, and what came with it: servers may keep a connection awake with spaces. */
async function firstText(chunks: AsyncIterator<Buffer>): Promise<Buffer> {
  const read: Buffer[] = [];
  let size = 0;
  while (size < MAX_ERROR_BYTES) {
    const next = await chunks.next();
    if (next.done === true) break;
    read.push(next.value);
    size += next.value.length;
    if (/\S/.test(next.value.toString('latin1'))) break;
  }
  return Buffer.concat(read);
}

async function* chain(first: Buffer, rest?: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  while (rest !== undefined) {
    const next = await rest.next();
    if (next.done === true) return;
    yield next.value;
  }
}

const PASSED =
  /^(?:content-type|retry-after(?:-ms)?|x-should-retry|(?:x-)?request-id|(?:x|anthropic)-ratelimit-.+|cache-control)$/;

/** The provider's headers that mean something to a client: a list of what may pass, so that no cookie or account name does. */
function passed(headers: Answer['headers'], mask: Mask, sized: boolean): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (PASSED.test(name) || (sized && name === 'content-length')) kept[name] = mask.text(value);
  }
  return kept;
}

function redirectTarget(location: string | undefined, base: string): string {
  const url = location === undefined ? null : URL.parse(location, base);
  return url === null ? 'nowhere in particular' : shown(url.href);
}
