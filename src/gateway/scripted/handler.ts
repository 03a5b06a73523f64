import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { MAX_REQUEST_BYTES, readBody } from '../body.ts';
import { dialectOf, errorBody } from '../dialect.ts';
import { createScriptedModel } from './answer.ts';
import type { Script } from './script.ts';

/** A scripted model as a handler of plain node:http: `/v1/messages` and `/v1/chat/completions`, as a real provider's server. */
export function scriptedHandler(
  script: Script,
  options: { key?: string } = {},
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const model = createScriptedModel(script);
  return async (request, response) => {
    const call = new AbortController();
    response.on('close', () => call.abort());
    response.on('error', () => call.abort());
    const dialect = dialectOf(new URL(request.url ?? '/', 'http://model').pathname);
    if (dialect === undefined || request.method !== 'POST') {
      answerError(
        response,
        404,
        errorBody('openai', { status: 404, message: `There is no ${request.method} ${request.url} here.` }),
      );
      return;
    }
    try {
      const body = await readBody(request, call.signal, MAX_REQUEST_BYTES);
      const shown =
        dialect === 'anthropic' ? request.headers['x-api-key'] : request.headers.authorization?.replace(/^Bearer /, '');
      if (options.key !== undefined && shown !== options.key) {
        answerError(response, 401, errorBody(dialect, { status: 401, message: 'invalid x-api-key' }));
        return;
      }
      const answer = await model.answer({ dialect, body, conversation: '', signal: call.signal });
      response.writeHead(answer.status, answer.headers);
      response.flushHeaders();
      for await (const chunk of answer.body) {
        if (!response.write(chunk)) await once(response, 'drain', { signal: call.signal });
      }
      response.end();
    } catch {
      // Cut by the script, or left by the client. What was written before the cut is to arrive.
      if (response.writableLength > 0 && !call.signal.aborted) response.write('', () => response.destroy());
      else response.destroy();
    }
  };
}

function answerError(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(body);
}
