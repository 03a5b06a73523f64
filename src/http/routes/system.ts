import { createRoute, z } from '@hono/zod-openapi';
import { doctorReport, info } from '../../contract/api-system.ts';
import type { DoorApp, DoorDeps } from '../door.ts';
import { API, json, needs, refusals } from './shared.ts';

const tags = ['system'];
const open = { security: [] };

export const systemRoutes = {
  info: createRoute({
    method: 'get',
    path: `${API}/info`,
    operationId: 'getInfo',
    summary: 'What this server can do: agents, strategies, providers, limits',
    tags,
    ...needs('read'),
    responses: { 200: json(info, 'The facts.'), ...refusals() },
  }),
  doctor: createRoute({
    method: 'get',
    path: `${API}/doctor`,
    operationId: 'getDoctor',
    summary: 'Whether attempts can run here: rights, quotas, images, by name',
    tags,
    ...needs('run'),
    request: {
      query: z.object({
        probe: z
          .enum(['true', 'false'])
          .default('false')
          .meta({ description: 'Also runs something for a moment, as an attempt would be: it takes seconds.' }),
      }),
    },
    responses: { 200: json(doctorReport, 'What was found.'), ...refusals(400) },
  }),
  health: createRoute({
    method: 'get',
    path: '/healthz',
    operationId: 'getHealth',
    summary: 'The process lives',
    tags,
    ...open,
    responses: {
      200: json(z.object({ status: z.literal('ok'), version: z.string() }).meta({ id: 'Health' }), 'It does.'),
      ...refusals(),
    },
  }),
  ready: createRoute({
    method: 'get',
    path: '/readyz',
    operationId: 'getReadiness',
    summary: 'The store can be written, and the server is not shutting down',
    tags,
    ...open,
    responses: {
      200: json(z.object({ status: z.literal('ready') }).meta({ id: 'Readiness' }), 'Ready.'),
      ...refusals(507),
    },
  }),
  metrics: createRoute({
    method: 'get',
    path: '/metrics',
    operationId: 'getMetrics',
    summary: 'Metrics as Prometheus text',
    tags,
    ...needs('read'),
    responses: {
      200: { description: 'The metrics.', content: { 'text/plain': { schema: z.string() } } },
      ...refusals(),
    },
  }),
};

export function addSystem(app: DoorApp, { flow, store, telemetry: { metrics }, version }: DoorDeps): void {
  app.openapi(systemRoutes.info, async (c) => c.json(await flow.info(), 200));
  app.openapi(systemRoutes.doctor, async (c) =>
    c.json(await flow.doctor({ probe: c.req.valid('query').probe === 'true' }), 200),
  );
  app.openapi(systemRoutes.health, (c) => c.json({ status: 'ok' as const, version }, 200));
  app.openapi(systemRoutes.ready, async (c) => {
    // Takes the write lock and changes nothing: a store that went read-only, or is held by another process, refuses it.
    await store.write({ within: (tx) => void tx.run(store.db.deleteFrom('api_keys').where('id', '=', '')) });
    return c.json({ status: 'ready' as const }, 200);
  });
  app.openapi(systemRoutes.metrics, async (c) =>
    c.text(await metrics.render(), 200, { 'content-type': metrics.contentType }),
  );
}
