import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRoom, expectedBytes, type Room } from '../agent/room.ts';
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

/** The largest request that the gateway takes, and all that an attempt's requests under way may have. Bytes. */
const MOST_BYTES = 32 * 1024 * 1024;

export type ModelRoute<Holder> = (request: IncomingMessage, response: ServerResponse, caller: Holder) => Promise<void>;

/** Answers requests to `/models/…`: the gateway, for as long as the attempt is not stopped. */
export function createModelRoute<Holder extends Knocker>(deps: ModelDeps<Holder>): ModelRoute<Holder> {
  const rooms = new WeakMap<Holder, Room>();
  return (request, response, caller) => {
    const room = rooms.get(caller) ?? createRoom(MOST_BYTES);
    rooms.set(caller, room);
    return callModel(request, response, caller, room, deps);
  };
}

async function callModel<Holder extends Knocker>(
  request: IncomingMessage,
  response: ServerResponse,
  caller: Holder,
  room: Room,
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
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const leaveRoom = await room
    .enter(expectedBytes(request.headers['content-length'], MOST_BYTES), gone.signal)
    .catch(() => null);
  if (leaveRoom === null) return;
  response.once('close', leaveRoom);
  if (response.closed) leaveRoom();
  guardBody(request);
  request.url = (request.url ?? '').slice('/models'.length);
  delete request.headers.authorization;
  await gateway.handle(request, response, caller, book(caller));
}
