import type { IncomingMessage } from 'node:http';
import { spokenBy } from '../contract/dialect.ts';
import { readBody } from './body.ts';
import { chooseModel } from './choose-model.ts';
import { CallFault, dialectNames, routeOf, type Route } from './dialect.ts';
import type { Caller } from './gateway.ts';
import { readModelRequest, type ModelRequest } from './model-request.ts';
import type { Target } from './target.ts';

/** A request that may be made. */
export interface Accepted {
  route: Route;
  target: Target;
  /** `<provider>/<model>`. */
  fullName: string;
  asked: ModelRequest;
  /** The client's body, in bytes. */
  size: number;
  /** As it goes on. */
  body: Buffer;
  /** The client's query, with its question mark, or empty. */
  query: string;
  clientHeaders: IncomingMessage['headers'];
}

/**
 * Reads a request and says whether it may be made: a route there is, a model of this caller's, a provider that speaks the
 * protocol. Errors: CallFault or AppError that say why not; the signal's reason.
 *
 * @param onRoute called as soon as it is known what is asked for
 */
export async function accept(
  request: IncomingMessage,
  caller: Caller,
  options: {
    find: (model: string) => Target;
    maxBytes: number;
    signal: AbortSignal;
    onRoute: (route: Route) => void;
  },
): Promise<Accepted> {
  const { pathname, search, searchParams } = new URL(request.url ?? '/', 'http://gateway');
  const route = routeOf(pathname);
  if (route === undefined) throw new CallFault(404, 'not_found', noRoute(pathname));
  options.onRoute(route);
  if (request.method !== 'POST')
    throw new CallFault(405, 'method_not_allowed', `${pathname} takes POST, not ${request.method}.`);
  const { dialect } = route;
  if (dialect === 'gemini' && route.named?.stream === true && searchParams.get('alt') !== 'sse') {
    throw new CallFault(400, 'invalid_request', 'A stream is served as events only: ask for it with ?alt=sse.');
  }
  const read = await readBody(request, options.signal, options.maxBytes);
  const asked = readModelRequest(read, route);
  const fullName = chooseModel(asked.model, caller);
  const target = options.find(fullName);
  const { providerName, provider } = target;
  if (!spokenBy[provider.kind].includes(dialect)) {
    const spoken = spokenBy[provider.kind].map((each) => dialectNames[each]).join(' and ');
    throw new CallFault(
      400,
      'invalid_request',
      `The provider ${providerName} speaks ${spoken}, not ${dialectNames[dialect]}. Let the agent speak that, or choose a model of another provider.`,
    );
  }
  checkBody(route, asked);
  return {
    route,
    target,
    fullName,
    asked,
    size: read.length,
    body: asked.forProvider(target.model),
    query: search,
    clientHeaders: request.headers,
  };
}

/** What of a body would get round the gateway. */
function checkBody({ dialect, named }: Route, asked: ModelRequest): void {
  const inBody = named === null ? undefined : asked.value('model');
  if (inBody !== undefined && inBody !== asked.model && inBody !== `models/${asked.model}`)
    throw new CallFault(400, 'invalid_request', 'The body names another model than the path.');
  if (dialect === 'responses' && asked.value('background') === true)
    throw new CallFault(400, 'invalid_request', 'A background response cannot be metered: leave `background` out.');
}

function noRoute(path: string): string {
  return `The gateway has no ${path}. It has /v1/messages (and /count_tokens under it), /v1/chat/completions, /v1/responses and /v1beta/models/<model> with :generateContent, :streamGenerateContent and :countTokens.`;
}
