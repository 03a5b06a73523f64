import { createRoute, z } from '@hono/zod-openapi';
import { agentList, agentView, installRequest } from '../../contract/api-system.ts';
import type { DoorApp, DoorDeps } from '../door.ts';
import { API, json, jsonBody, needs, POST_REFUSALS, refusals } from './shared.ts';

const tags = ['agents'];
const params = z.strictObject({ name: z.string().min(1).max(63).openapi({ example: 'codex' }) });

export const agentRoutes = {
  list: createRoute({
    method: 'get',
    path: `${API}/agents`,
    operationId: 'listAgents',
    summary: 'The agents, and whether each can be run here',
    tags,
    ...needs('read'),
    responses: { 200: json(agentList, 'The agents.'), ...refusals() },
  }),
  get: createRoute({
    method: 'get',
    path: `${API}/agents/{name}`,
    operationId: 'getAgent',
    summary: 'An agent, and whether it can be run here',
    tags,
    ...needs('read'),
    request: { params },
    responses: { 200: json(agentView, 'The agent.'), ...refusals(400, 422) },
  }),
  install: createRoute({
    method: 'post',
    path: `${API}/agents/{name}/install`,
    operationId: 'installAgent',
    summary: 'Install an agent on the machine of the server, from npm, in its exact version',
    tags,
    ...needs('admin'),
    request: { params, body: { ...jsonBody(installRequest), required: false } },
    responses: {
      202: json(agentView, 'It is being installed, or is there: `state` says which, and where it failed why.'),
      ...refusals(...POST_REFUSALS),
    },
  }),
};

export function addAgents(app: DoorApp, { flow: { agents } }: Pick<DoorDeps, 'flow'>): void {
  app.openapi(agentRoutes.list, async (c) => c.json({ agents: await agents.list() }, 200));
  app.openapi(agentRoutes.get, async (c) => c.json(await agents.view(c.req.valid('param').name), 200));
  app.openapi(agentRoutes.install, async (c) =>
    c.json(await agents.install(c.req.valid('param').name, c.req.valid('json')), 202),
  );
}
