import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { MAX_REQUEST_BYTES, readBody } from '../body.ts';
import { CallFault, errorBody, routeOf, type Dialect } from '../dialect.ts';
import { readModelRequest } from '../model-request.ts';
import { createScriptedModel } from './answer.ts';
import type { Script } from './script.ts';

/** A scripted model as a handler of plain node:http: the routes of all dialects, as real providers' servers have them. */
export function scriptedHandler(
  script: Script,
  options: { key?: string } = {},
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const scripted = createScriptedModel(script);
  return async (request, response) => {
    const call = new AbortController();
    response.on('close', () => call.abort());
    response.on('error', () => call.abort());
    const route = routeOf(new URL(request.url ?? '/', 'http://model').pathname);
    if (route === undefined || request.method !== 'POST') {
      answerError(
        response,
        404,
        errorBody('openai', { status: 404, message: `There is no ${request.method} ${request.url} here.` }),
      );
      return;
    }
    const { dialect } = route;
    try {
      const body = await readBody(request, call.signal, MAX_REQUEST_BYTES);
      if (options.key !== undefined && keyOf(dialect, request.headers) !== options.key) {
        answerError(response, 401, errorBody(dialect, { status: 401, message: 'invalid x-api-key' }));
        return;
      }
      const { model } = readModelRequest(body, route);
      const answer = await scripted.answer({ route, model, body, conversation: '', signal: call.signal });
      response.writeHead(answer.status, answer.headers);
      response.flushHeaders();
      for await (const chunk of answer.body) {
        if (!response.write(chunk)) await once(response, 'drain', { signal: call.signal });
      }
      response.end();
    } catch (error) {
      if (error instanceof CallFault && !response.headersSent && !call.signal.aborted) {
        answerError(response, error.status, errorBody(dialect, error));
        return;
      }
      // Cut by the script, or left by the client. What was written before the cut is to arrive.
      if (response.writableLength > 0 && !call.signal.aborted) response.write('', () => response.destroy());
      else response.destroy();
    }
  };
}

function keyOf(dialect: Dialect, headers: IncomingHttpHeaders): string | undefined {
  switch (dialect) {
    case 'anthropic':
      return headers['x-api-key']?.toString();
    case 'gemini':
      return headers['x-goog-api-key']?.toString();
    case 'openai':
    case 'responses':
      return headers.authorization?.replace(/^Bearer /, '');
  }
}

function answerError(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(body);
}
