import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { CallFault, type Dialect, type Route } from './dialect.ts';
import type { ProviderConfig } from './gateway.ts';

/** How long a provider may be silent, in milliseconds. */
export interface Timeouts {
  /** Until the connection stands, TLS included. */
  connect: number;
  /** From then until the answer begins: models think. */
  firstByte: number;
  /** Between two chunks of the answer. */
  idle: number;
  /** For all of it: a stream that says only that it is still there ends, too. */
  whole: number;
}

export const defaultTimeouts: Timeouts = { connect: 10_000, firstByte: 300_000, idle: 300_000, whole: 3_600_000 };

/** An answer of a provider, whatever kind it is. Its body throws when it breaks off. */
export interface Answer {
  status: number;
  headers: Readonly<Record<string, string>>;
  body: AsyncIterable<Buffer>;
}

/** A call's one clock: it ends the call with a fault when time is up. Setting it again starts it anew. */
export interface Clock {
  set(milliseconds: number, fault: () => CallFault): void;
  refresh(): void;
  clear(): void;
}

export function createClock(call: AbortController): Clock {
  let timer: NodeJS.Timeout | undefined;
  const clear = (): void => clearTimeout(timer);
  return {
    set(milliseconds, fault) {
      clear();
      timer = setTimeout(() => call.abort(fault()), milliseconds).unref();
    },
    refresh: () => void timer?.refresh(),
    clear,
  };
}

/** Connections to providers, kept between calls. */
export interface Connections {
  http: HttpAgent;
  https: HttpsAgent;
}

/** `proxyEnv`: an environment whose HTTP_PROXY, HTTPS_PROXY and NO_PROXY are obeyed. */
export function openConnections(proxyEnv?: Record<string, string | undefined>): Connections {
  // Providers close resting connections after a minute or so; one that rests longer is not worth the race.
  const options = { keepAlive: true, timeout: 30_000, ...(proxyEnv === undefined ? {} : { proxyEnv }) };
  return { http: new HttpAgent(options), https: new HttpsAgent(options) };
}

export interface Call {
  providerName: string;
  provider: ProviderConfig;
  route: Route;
  /** The provider's own name for the model. */
  model: string;
  body: Buffer;
  /** The client's query, with its question mark, or empty. */
  query: string;
  clientHeaders: IncomingMessage['headers'];
  signal: AbortSignal;
  clock: Clock;
  timeouts: Timeouts;
}

/**
 * Sends a call to its provider and resolves when the answer's head is there. Errors: CallFault where the provider cannot
 * be reached or says nothing in time; the signal's reason once the call is over otherwise.
 */
export async function forward(call: Call, connections: Connections): Promise<Answer> {
  for (let retried = false; ; retried = true) {
    const sent: { request?: ClientRequest } = {};
    try {
      return await send(call, connections, sent);
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason;
      // A resting connection that the provider closed just now: nothing was read from it, and Node's own advice is to try once more.
      if (!retried && sent.request?.reusedSocket === true && codeOf(error) === 'ECONNRESET') continue;
      throw unreachable(call, error);
    }
  }
}

function send(call: Call, connections: Connections, sent: { request?: ClientRequest }): Promise<Answer> {
  const { provider, providerName, signal, clock, timeouts } = call;
  const url = urlOf(call);
  const secure = url.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', headers: headersFor(call) };
    const request = secure
      ? httpsRequest(url, { ...options, agent: connections.https })
      : httpRequest(url, { ...options, agent: connections.http });
    sent.request = request;
    let answer: IncomingMessage | undefined;
    const onAbort = (): void =>
      void (answer ?? request).destroy(signal.reason instanceof Error ? signal.reason : undefined);
    signal.addEventListener('abort', onAbort, { once: true });
    request.on('close', () => signal.removeEventListener('abort', onAbort));
    request.on('error', reject);
    clock.set(timeouts.connect, () =>
      timedOut(
        `The provider ${providerName} at ${shown(provider.baseUrl)} could not be connected to within ${timeouts.connect / 1000} s.`,
        true,
      ),
    );
    const connected = (): void =>
      clock.set(timeouts.firstByte, () =>
        timedOut(`The provider ${providerName} did not begin to answer within ${timeouts.firstByte / 1000} s.`, false),
      );
    request.on('socket', (socket) => {
      if (socket.connecting) socket.once(secure ? 'secureConnect' : 'connect', connected);
      else connected();
    });
    request.on('response', (response) => {
      answer = response;
      const headers: Record<string, string> = {};
      for (const [name, value] of Object.entries(response.headers)) {
        if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
      }
      resolve({ status: response.statusCode ?? 0, headers, body: response });
    });
    request.end(call.body);
  });
}

function timedOut(message: string, nothingSpent: boolean): CallFault {
  return new CallFault(504, 'provider_error', message, { nothingSpent });
}

function urlOf({ provider, route, model, query }: Call): URL {
  const url = new URL(`${provider.baseUrl.replace(/\/+$/, '')}${pathOf(route, model)}${query}`);
  // Where Gemini's clients may put their key.
  url.searchParams.delete('key');
  return url;
}

function pathOf({ dialect, what, named }: Route, model: string): string {
  switch (dialect) {
    case 'anthropic':
      return what === 'count' ? '/v1/messages/count_tokens' : '/v1/messages';
    case 'openai':
      return '/chat/completions';
    case 'responses':
      return '/responses';
    case 'gemini': {
      const method = named?.stream === true ? 'streamGenerateContent' : 'generateContent';
      return `/v1beta/models/${encodeURIComponent(model)}:${what === 'count' ? 'countTokens' : method}`;
    }
  }
}

/** Headers of the client's that a protocol has a use for. */
const passedHeaders: Readonly<Record<Dialect, readonly string[]>> = {
  anthropic: ['accept', 'user-agent', 'anthropic-version', 'anthropic-beta'],
  openai: ['accept', 'user-agent'],
  responses: ['accept', 'user-agent', 'openai-beta'],
  gemini: ['accept', 'user-agent', 'x-goog-api-client'],
};

/**
 * The headers for the provider: what its protocol needs from the client by name, and the key. A list of what may pass, so
 * that no credential, cookie or hop-by-hop header of the client's can.
 */
function headersFor({ provider, route: { dialect }, body, clientHeaders }: Call): Record<string, string> {
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'content-length': String(body.length),
    // Tokens are read from the answer as it passes.
    'accept-encoding': 'identity',
  };
  for (const name of passedHeaders[dialect]) {
    const value = clientHeaders[name];
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  if (dialect === 'anthropic') headers['anthropic-version'] ??= '2023-06-01';
  if (provider.key !== null) {
    if (dialect === 'anthropic') headers['x-api-key'] = provider.key;
    else if (dialect === 'gemini') headers['x-goog-api-key'] = provider.key;
    else headers['authorization'] = `Bearer ${provider.key}`;
  }
  return { ...headers, ...provider.headers };
}

function unreachable({ providerName, provider }: Call, error: unknown): CallFault {
  const code = codeOf(error);
  const why = code ?? (error instanceof Error ? error.message : String(error));
  // These come before a byte of the request was sent; after any other the provider may have begun to work.
  const nothingSpent =
    ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'].includes(code ?? '') ||
    /CERT|TLS|SSL/.test(code ?? '');
  return new CallFault(
    502,
    'provider_error',
    `The provider ${providerName} cannot be reached at ${shown(provider.baseUrl)} (${why}). Check that it runs and that providers.${providerName}.base_url is right.`,
    { nothingSpent, cause: error },
  );
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** A URL without what may be secret in it. */
export function shown(address: string): string {
  const url = URL.parse(address);
  return url === null ? 'an address that is no URL' : `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}`;
}
