import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Booking, Caller, Gateway } from '../gateway/gateway.ts';
import { refuse } from './answer.ts';
import { guardBody } from './body.ts';

/** Who comes through: a caller of the gateway whose model calls are cut, and refused, when it is stopped. */
export interface Knocker extends Caller {
  stopped: AbortController;
}

export interface ModelDeps<Holder> {
  gateway: Gateway;
  /** Where a model call of an attempt is written down. */
  book(caller: Holder): Booking;
}

/** Answers a request to `/models/…`: the gateway, for as long as the attempt is not stopped. */
export async function callModel<Holder extends Knocker>(
  request: IncomingMessage,
  response: ServerResponse,
  caller: Holder,
  { gateway, book }: ModelDeps<Holder>,
): Promise<void> {
  const { signal } = caller.stopped;
  if (signal.aborted) {
    refuse(response, 403, 'forbidden', 'This attempt was stopped: no more model calls.');
    return;
  }
  const cut = () => response.destroy();
  signal.addEventListener('abort', cut);
  response.once('close', () => signal.removeEventListener('abort', cut));
  guardBody(request);
  request.url = (request.url ?? '').slice('/models'.length);
  delete request.headers.authorization;
  await gateway.handle(request, response, caller, book(caller));
}
