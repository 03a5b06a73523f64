import { createRoute, z } from '@hono/zod-openapi';
import { createdKey, createKey, keyList } from '../../contract/api-system.ts';
import { AppError } from '../../errors.ts';
import type { DoorApp, DoorDeps } from '../door.ts';
import { API, json, jsonBody, needs, POST_REFUSALS, refusals } from './shared.ts';

const tags = ['keys'];

export const keyRoutes = {
  list: createRoute({
    method: 'get',
    path: `${API}/keys`,
    operationId: 'listKeys',
    summary: 'The API keys, without the keys themselves',
    tags,
    ...needs('admin'),
    responses: { 200: json(keyList, 'The keys.'), ...refusals() },
  }),
  create: createRoute({
    method: 'post',
    path: `${API}/keys`,
    operationId: 'createKey',
    summary: 'Make an API key; it is shown once. Takes no Idempotency-Key',
    tags,
    ...needs('admin'),
    request: { body: jsonBody(createKey) },
    responses: { 201: json(createdKey, 'The key.'), ...refusals(...POST_REFUSALS) },
  }),
  revoke: createRoute({
    method: 'delete',
    path: `${API}/keys/{key_id}`,
    operationId: 'revokeKey',
    summary: 'Revoke a key: it ends at once, and so do the streams opened with it',
    tags,
    ...needs('admin'),
    request: { params: z.strictObject({ key_id: z.string().regex(/^[a-z][a-z0-9]{9}$/, 'Not the id of a key.') }) },
    responses: { 204: { description: 'Revoked.' }, ...refusals(400, 404, 507) },
  }),
};

export function addKeys(app: DoorApp, { keys }: Pick<DoorDeps, 'keys'>): void {
  app.openapi(keyRoutes.list, async (c) => c.json({ keys: await keys.list() }, 200));
  app.openapi(keyRoutes.create, async (c) => c.json(await keys.create(c.req.valid('json')), 201));
  app.openapi(keyRoutes.revoke, async (c) => {
    const { key_id: id } = c.req.valid('param');
    if (await keys.revoke(id)) return c.body(null, 204);
    throw new AppError('not_found', `There is no API key ${id}.`, { hint: '`aideator keys list` shows them.' });
  });
}
