import { createRoute } from '@hono/zod-openapi';
import { run, variation } from '../../contract/api.ts';
import { forked, forkRequest, prompted, promptRequest } from '../../contract/api-steering.ts';
import type { DoorApp, DoorDeps } from '../door.ts';
import {
  API,
  diffResponse,
  diffText,
  idempotencyHeader,
  json,
  jsonBody,
  needs,
  noFields,
  POST_REFUSALS,
  refusals,
  runParams,
  variationParams,
} from './shared.ts';

const tags = ['variations'];
const all = `${API}/runs/{id}/variations`;
const one = `${all}/{v}`;

export const variationRoutes = {
  get: createRoute({
    method: 'get',
    path: one,
    operationId: 'getVariation',
    summary: 'One variation with its attempts',
    tags,
    ...needs('read'),
    request: { params: variationParams },
    responses: { 200: json(variation, 'The variation.'), ...refusals(400, 404) },
  }),
  patch: createRoute({
    method: 'get',
    path: `${one}/patch`,
    operationId: 'getPatch',
    summary: 'Its patch, byte for byte: `git apply` takes it on the base commit',
    tags,
    ...needs('read'),
    request: { params: variationParams },
    responses: { 200: diffText('The patch.'), ...refusals(400, 404, 409) },
  }),
  cancel: createRoute({
    method: 'post',
    path: `${one}/cancel`,
    operationId: 'cancelVariation',
    summary: 'Stop one variation; the others go on',
    tags,
    ...needs('run'),
    request: { params: variationParams, headers: idempotencyHeader, body: noFields },
    responses: { 200: json(run, 'The run.'), ...refusals(404, ...POST_REFUSALS) },
  }),
  retry: createRoute({
    method: 'post',
    path: `${one}/retry`,
    operationId: 'retryVariation',
    summary: 'Try a failed or cancelled variation again, as a new attempt',
    tags,
    ...needs('run'),
    request: { params: variationParams, headers: idempotencyHeader, body: noFields },
    responses: { 202: json(run, 'The run, which is active again.'), ...refusals(404, ...POST_REFUSALS) },
  }),
  prompt: createRoute({
    method: 'post',
    path: `${one}/prompts`,
    operationId: 'promptVariation',
    summary:
      'Tell a variation what to do next: the next turn of its session, or a new attempt that goes on from its last',
    tags,
    ...needs('run'),
    request: { params: variationParams, headers: idempotencyHeader, body: jsonBody(promptRequest) },
    responses: {
      202: json(prompted, 'Stored; what becomes of it is in the log.'),
      ...refusals(402, 404, 429, ...POST_REFUSALS),
    },
  }),
  fork: createRoute({
    method: 'post',
    path: all,
    operationId: 'forkVariation',
    summary: 'A new variation of the run, from another’s work tree and conversation',
    tags,
    ...needs('run'),
    request: { params: runParams, headers: idempotencyHeader, body: jsonBody(forkRequest) },
    responses: { 202: json(forked, 'Stored; it starts as there is room.'), ...refusals(402, 404, ...POST_REFUSALS) },
  }),
};

export function addVariations(app: DoorApp, { flow }: Pick<DoorDeps, 'flow'>): void {
  app.openapi(variationRoutes.get, async (c) => {
    const { id, v } = c.req.valid('param');
    return c.json(await flow.variation(id, v), 200);
  });
  app.openapi(variationRoutes.patch, async (c) => {
    const { id, v } = c.req.valid('param');
    return diffResponse(await flow.patch(id, v), `${id}-${v}.patch`);
  });
  app.openapi(variationRoutes.cancel, async (c) => {
    const { id, v } = c.req.valid('param');
    return c.json(await flow.cancel(id, v), 200);
  });
  app.openapi(variationRoutes.retry, async (c) => {
    const { id, v } = c.req.valid('param');
    return c.json(await flow.retry(id, v), 202);
  });
  app.openapi(variationRoutes.prompt, async (c) => {
    const { id, v } = c.req.valid('param');
    return c.json(await flow.prompt(id, v, c.req.valid('json')), 202);
  });
  app.openapi(variationRoutes.fork, async (c) =>
    c.json(await flow.fork(c.req.valid('param').id, c.req.valid('json')), 202),
  );
}
