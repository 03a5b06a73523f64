import { OpenAPIHono } from '@hono/zod-openapi';
import { routePath } from 'hono/route';
import { createMiddleware } from 'hono/factory';
import { randomUUID } from 'node:crypto';
import { AppError } from '../errors.ts';
import { guard } from './auth.ts';
import { body } from './body.ts';
import type { Door, DoorApp, DoorDeps, DoorEnv, RouteDeps } from './door.ts';
import { idempotency } from './idempotency.ts';
import { invalidRequest, problemResponse } from './problem.ts';
import { addAgents } from './routes/agents.ts';
import { addDocs } from './routes/docs.ts';
import { addKeys } from './routes/keys.ts';
import { addRuns } from './routes/runs.ts';
import { addStream } from './routes/stream.ts';
import { addSystem } from './routes/system.ts';
import { addVariations } from './routes/variations.ts';
import { SseHub } from './sse.ts';

const ALREADY_SENT = 'x-hono-already-sent';

/** The public door as a value: every route, and what stands before it, in the order in which a request meets it. */
export function buildApp(doorDeps: DoorDeps): Door {
  const { log, metrics } = doorDeps.telemetry;
  const streams = new SseHub({ store: doorDeps.store, log, metrics }, doorDeps.sse);
  const deps: RouteDeps = { ...doorDeps, streams };
  const app: DoorApp = new OpenAPIHono<DoorEnv>({
    defaultHook: (result) => {
      if (!result.success) throw invalidRequest(result.target, result.error);
    },
  });
  deps.keys.onRevoked((id) => streams.dropKey(id));

  app.onError((error, c) => {
    const requestId = c.var.requestId;
    const response = problemResponse(error, { instance: c.req.path, requestId });
    if (response.status >= 500)
      log.error({ err: error, request_id: requestId, method: c.req.method, path: c.req.path }, 'a request failed');
    return response;
  });
  app.notFound((c) => problemResponse(notFound(c.req.path), { instance: c.req.path, requestId: c.var.requestId }));

  app.use(observe(deps));
  app.use(guard(deps));
  app.use(
    createMiddleware<DoorEnv>(async (c, next) => {
      if (streams.isClosing && c.req.path !== '/healthz') {
        throw new AppError('shutting_down', 'The server is shutting down.', { hint: 'Try again when it is back.' });
      }
      const allowed = methodsOf(c.req.path);
      if (allowed.length > 0 && !allowed.includes(c.req.method)) {
        throw new AppError('method_not_allowed', `${c.req.path} does not take ${c.req.method}.`, {
          hint: `It takes ${allowed.join(', ')}.`,
          details: { allow: allowed },
        });
      }
      await next();
    }),
  );
  app.use(body);
  app.use(idempotency({ store: deps.store, log }));

  addSystem(app, deps);
  addRuns(app, deps);
  addStream(app, deps);
  addVariations(app, deps);
  addAgents(app, deps);
  addKeys(app, deps);
  addDocs(app, deps.version);
  app.get('/', (c) => c.redirect('/docs'));

  const methodsOf = methodsByPath(app);
  return { app, streams, subscribers: () => streams.size };
}

/** Gives a request its id, and its answer the headers that every one has; counts it. */
function observe({ telemetry: { metrics, log }, onRequest }: Pick<DoorDeps, 'telemetry' | 'onRequest'>) {
  return createMiddleware<DoorEnv>(async (c, next) => {
    const given = c.req.header('x-request-id');
    const requestId = given !== undefined && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
    c.set('requestId', requestId);
    onRequest?.();
    const start = performance.now();
    await next();
    const { method } = c.req;
    const route = routePath(c, -1);
    const { status } = c.res;
    metrics.request({
      route: route === '*' || route === '/*' ? 'none' : route,
      method,
      status,
      seconds: (performance.now() - start) / 1000,
    });
    log.debug({ request_id: requestId, method, path: c.req.path, status, caller: c.var.caller?.id }, 'request');
    if (c.res.headers.has(ALREADY_SENT)) return;
    c.res.headers.set('x-request-id', requestId);
    c.res.headers.set('x-content-type-options', 'nosniff');
    if (!c.res.headers.has('cache-control')) c.res.headers.set('cache-control', 'no-store');
  });
}

/** Which methods a path takes, from the routes there are; none = there is no such path. */
function methodsByPath(app: DoorApp): (path: string) => string[] {
  const byPattern = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  for (const { method, path } of app.routes) {
    if (method === 'ALL') continue;
    const entry = byPattern.get(path) ?? {
      pattern: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]+')}$`),
      methods: new Set(),
    };
    entry.methods.add(method);
    if (method === 'GET') entry.methods.add('HEAD');
    byPattern.set(path, entry);
  }
  const entries = [...byPattern.values()];
  return (path) => entries.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => [...methods]);
}

function notFound(path: string): AppError {
  return new AppError('not_found', `There is no ${path}.`, { hint: 'What there is: /docs, or /openapi.json.' });
}
