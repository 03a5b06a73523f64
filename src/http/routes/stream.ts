import { createRoute, z } from '@hono/zod-openapi';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { EVENT_TYPES } from '../../contract/event.ts';
import { AppError } from '../../errors.ts';
import type { DoorApp, RouteDeps } from '../door.ts';
import { STREAM_HEADERS } from '../subscriber.ts';
import { API, needs, refusals, runParams, variationId } from './shared.ts';

const position = z.string().max(200).optional();

/** One event as a parser of event streams sees it; the lines of the wire are `field: value`. */
const streamEvent = z
  .object({
    id: z.string().regex(/^\d+$/).optional().openapi({ description: 'Left out for heartbeat and reset.' }),
    event: z.enum([...EVENT_TYPES, 'heartbeat', 'reset']),
    data: z.string().openapi({ description: 'JSON of one line.' }),
  })
  .meta({ id: 'StreamEvent' });

export const streamRoutes = {
  stream: createRoute({
    method: 'get',
    path: `${API}/runs/{id}/stream`,
    operationId: 'streamRun',
    summary: 'The events of a run, stored and coming, as server-sent events',
    description: [
      'Begins after the given event, and with the first one where none is given. Every event has an `id`, an `event` (its type) and `data` (JSON, one line). Nothing is left out: whoever is cut off',
      'comes back with the last id it saw. When the run is over and all was sent, the stream ends; coming back then gets 204, which tells an EventSource to stay away.',
      '',
      '`event: heartbeat` comes every 15 seconds, without an id. `event: reset` means that the position cannot be used (`reason`: malformed, unknown, pruned): discard what you have; the stream',
      'goes on from the first event there is.',
    ].join('\n'),
    tags: ['runs'],
    ...needs('read'),
    request: {
      params: runParams,
      headers: z.object({
        'Last-Event-ID': position.openapi({
          description: 'Id of the last event seen. Wins over `after`: an EventSource that comes back repeats its URL.',
        }),
      }),
      query: z.strictObject({
        after: position.openapi({
          description: 'Id of the last event seen. What is no such id is answered with a reset.',
        }),
        variation_id: variationId
          .optional()
          .openapi({ description: "Only this variation's events, and the run's own." }),
      }),
    },
    responses: {
      200: { description: 'The stream.', content: { 'text/event-stream': { schema: streamEvent } } },
      204: { description: 'The run is over, and nothing comes after that position.' },
      ...refusals(400, 404),
    },
  }),
};

export function addStream(app: DoorApp, { flow, streams }: Pick<RouteDeps, 'flow' | 'streams'>): void {
  app.openapi(streamRoutes.stream, async (c) => {
    const { after, variation_id: variation } = c.req.valid('query');
    const cursor = c.req.valid('header')['Last-Event-ID'] ?? after;
    const source = await flow.streamSource(c.req.valid('param').id, variation);
    const place = streams.place(source, cursor, variation);
    if (place === 'over') return c.body(null, 204);
    if (c.req.method === 'HEAD') return new Response(null, { headers: STREAM_HEADERS });
    if (streams.isFull) {
      throw new AppError('too_many_streams', `There are ${streams.size} open event streams already.`, {
        hint: 'Try again in a few seconds; GET …/outputs has the same events by pages.',
      });
    }
    const { incoming, outgoing } = c.env;
    streams.open(outgoing, incoming.socket, {
      run: source.run,
      isOver: source.isOver,
      variation,
      after: place.after,
      reset: place.reset,
      key: c.var.caller.id,
      headers: { 'x-request-id': c.var.requestId },
    });
    return RESPONSE_ALREADY_SENT;
  });
}
