import { createRoute, z } from '@hono/zod-openapi';
import {
  comparison,
  eventPage,
  run,
  runPage,
  runStatusView,
  selectRequest,
  shipped,
  shipRequest,
  submitRequest,
  submitted,
} from '../../contract/api.ts';
import { runStatus } from '../../contract/run.ts';
import type { DoorApp, DoorDeps } from '../door.ts';
import {
  API,
  diffResponse,
  diffText,
  idempotencyHeader,
  integer,
  json,
  jsonBody,
  needs,
  noFields,
  POST_REFUSALS,
  refusals,
  runParams,
  variationId,
} from './shared.ts';

const tags = ['runs'];
const one = `${API}/runs/{id}`;

export const runRoutes = {
  submit: createRoute({
    method: 'post',
    path: `${API}/runs`,
    operationId: 'submitRun',
    summary: 'Submit a task: N variations of it are run',
    tags,
    ...needs('run'),
    request: { headers: idempotencyHeader, body: jsonBody(submitRequest) },
    responses: {
      202: json(submitted, 'Stored; its variations start as there is room.'),
      ...refusals(...POST_REFUSALS),
    },
  }),
  list: createRoute({
    method: 'get',
    path: `${API}/runs`,
    operationId: 'listRuns',
    summary: 'Runs, newest first',
    tags,
    ...needs('read'),
    request: {
      query: z.strictObject({
        cursor: z.string().max(200).optional().openapi({ description: '`next_cursor` of the page before.' }),
        limit: integer(1, 200).default(50),
        status: runStatus.optional(),
      }),
    },
    responses: { 200: json(runPage, 'A page of runs.'), ...refusals(400) },
  }),
  get: createRoute({
    method: 'get',
    path: one,
    operationId: 'getRun',
    summary: 'A run with its variations and their attempts',
    tags,
    ...needs('read'),
    request: { params: runParams },
    responses: { 200: json(run, 'The run.'), ...refusals(400, 404) },
  }),
  forget: createRoute({
    method: 'delete',
    path: one,
    operationId: 'forgetRun',
    summary: 'Cancel a run, and forget it once everything has stopped',
    tags,
    ...needs('run'),
    request: { params: runParams },
    responses: {
      202: { description: 'It is being stopped, and is forgotten then.' },
      204: { description: 'It is gone.' },
      ...refusals(400, 404, 409, 507),
    },
  }),
  status: createRoute({
    method: 'get',
    path: `${one}/status`,
    operationId: 'getRunStatus',
    summary: 'The short form: statuses only',
    tags,
    ...needs('read'),
    request: { params: runParams },
    responses: { 200: json(runStatusView, 'The statuses.'), ...refusals(400, 404) },
  }),
  outputs: createRoute({
    method: 'get',
    path: `${one}/outputs`,
    operationId: 'getRunOutputs',
    summary: 'The stored events, by pages',
    tags,
    ...needs('read'),
    request: {
      params: runParams,
      query: z.strictObject({
        after: integer(0).default(0).openapi({ description: 'Events after this id.' }),
        limit: integer(1, 1000).default(200),
        variation_id: variationId.optional(),
      }),
    },
    responses: {
      200: json(eventPage, 'A page of events; `next_after` is null where it is the last so far.'),
      ...refusals(400, 404),
    },
  }),
  compare: createRoute({
    method: 'get',
    path: `${one}/compare`,
    operationId: 'compareRun',
    summary: 'What can be said of the variations before their code is read',
    tags,
    ...needs('read'),
    request: { params: runParams },
    responses: { 200: json(comparison, 'The comparison.'), ...refusals(400, 404, 409) },
  }),
  diff: createRoute({
    method: 'get',
    path: `${one}/diff`,
    operationId: 'diffVariations',
    summary: "The diff from one variation's tree to another's",
    tags,
    ...needs('read'),
    request: { params: runParams, query: z.strictObject({ a: variationId, b: variationId }) },
    responses: { 200: diffText('As git prints it.'), ...refusals(400, 404, 409, 422) },
  }),
  select: createRoute({
    method: 'post',
    path: `${one}/select`,
    operationId: 'selectVariation',
    summary: 'Choose a variation',
    tags,
    ...needs('run'),
    request: { params: runParams, headers: idempotencyHeader, body: jsonBody(selectRequest) },
    responses: { 200: json(run, 'The run with its choice.'), ...refusals(404, ...POST_REFUSALS) },
  }),
  ship: createRoute({
    method: 'post',
    path: `${one}/ship`,
    operationId: 'shipVariation',
    summary: 'Make the chosen variation a branch, or apply it to a work tree',
    tags,
    ...needs('run'),
    request: { params: runParams, headers: idempotencyHeader, body: jsonBody(shipRequest) },
    responses: { 200: json(shipped, 'Where it is now.'), ...refusals(404, ...POST_REFUSALS) },
  }),
  cancel: createRoute({
    method: 'post',
    path: `${one}/cancel`,
    operationId: 'cancelRun',
    summary: 'Stop all variations that are not over; again does no harm',
    tags,
    ...needs('run'),
    request: { params: runParams, headers: idempotencyHeader, body: noFields },
    responses: { 200: json(run, 'The run.'), ...refusals(404, ...POST_REFUSALS) },
  }),
};

export function addRuns(app: DoorApp, { flow }: Pick<DoorDeps, 'flow'>): void {
  app.openapi(runRoutes.submit, async (c) => c.json(await flow.submit(c.req.valid('json')), 202));
  app.openapi(runRoutes.list, async (c) => c.json(await flow.list(c.req.valid('query')), 200));
  app.openapi(runRoutes.get, async (c) => c.json(await flow.run(c.req.valid('param').id), 200));
  app.openapi(runRoutes.forget, async (c) => c.body(null, (await flow.forget(c.req.valid('param').id)) ? 204 : 202));
  app.openapi(runRoutes.status, async (c) => c.json(await flow.status(c.req.valid('param').id), 200));
  app.openapi(runRoutes.outputs, async (c) => {
    const { variation_id: variation, ...page } = c.req.valid('query');
    return c.json(await flow.outputs(c.req.valid('param').id, { ...page, variation }), 200);
  });
  app.openapi(runRoutes.compare, async (c) => c.json(await flow.compare(c.req.valid('param').id), 200));
  app.openapi(runRoutes.diff, async (c) => {
    const { id } = c.req.valid('param');
    const { a, b } = c.req.valid('query');
    return diffResponse(await flow.diff(id, a, b), `${id}-${a}-${b}.diff`);
  });
  app.openapi(runRoutes.select, async (c) =>
    c.json(await flow.select(c.req.valid('param').id, c.req.valid('json')), 200),
  );
  app.openapi(runRoutes.ship, async (c) => c.json(await flow.ship(c.req.valid('param').id, c.req.valid('json')), 200));
  app.openapi(runRoutes.cancel, async (c) => c.json(await flow.cancel(c.req.valid('param').id), 200));
}
