import { expect } from 'vitest';
import type { RouteConfig, z } from '@hono/zod-openapi';
import type { Problem } from '../../src/contract/api-system.ts';
import { keyRoutes } from '../../src/http/routes/keys.ts';
import { runRoutes } from '../../src/http/routes/runs.ts';
import { streamRoutes } from '../../src/http/routes/stream.ts';
import { systemRoutes } from '../../src/http/routes/system.ts';
import { variationRoutes } from '../../src/http/routes/variations.ts';
import type { DoorApp } from '../../src/http/door.ts';

/** Requests to the public door whose every answer is held against what the description promises. */

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** The body as JSON, undefined where it is none. */
  json: unknown;
}

export interface Ask {
  headers?: Record<string, string>;
  /** Sent as JSON, unless it is bytes or text. */
  body?: unknown;
}

export async function ask(app: DoorApp, method: string, path: string, { headers, body }: Ask = {}): Promise<Answer> {
  const asIs = typeof body === 'string' || body instanceof Uint8Array || body instanceof ReadableStream;
  const response = await app.request(path, {
    method,
    headers: { ...(body === undefined || asIs ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: asIs ? body : JSON.stringify(body) }),
    ...(body instanceof ReadableStream ? { duplex: 'half' as const } : {}),
  });
  const text = await response.text();
  const type = response.headers.get('content-type') ?? '';
  const answer = {
    status: response.status,
    headers: response.headers,
    text,
    json: type.endsWith('json') && text !== '' ? (JSON.parse(text) as unknown) : undefined,
  };
  expect(response.headers.get('x-request-id')).toMatch(/^[\w.-]+$/);
  holdsPromise(method, new URL(path, 'http://localhost').pathname, answer, type);
  return answer;
}

/** The problem document of a refusal. */
export async function refusal(
  app: DoorApp,
  method: string,
  path: string,
  options: Ask = {},
): Promise<Problem & { allow?: unknown }> {
  const { status, json, headers } = await ask(app, method, path, options);
  const problem = json as Problem;
  expect(headers.get('content-type')).toBe('application/problem+json');
  expect(problem.status).toBe(status);
  expect(problem.type).toBe(`/problems/${problem.code}`);
  expect(problem.hint).toBeTypeOf('string');
  return problem;
}

const routes: readonly RouteConfig[] = [
  ...Object.values(runRoutes),
  ...Object.values(streamRoutes),
  ...Object.values(variationRoutes),
  ...Object.values(keyRoutes),
  ...Object.values(systemRoutes),
];

function holdsPromise(method: string, path: string, answer: Answer, type: string): void {
  const wanted = method === 'HEAD' ? 'get' : method.toLowerCase();
  const route = routes.find(
    (each) => each.method === wanted && new RegExp(`^${each.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
  );
  if (route === undefined || answer.status === 405) return;
  const promised = route.responses[answer.status];
  if (promised === undefined || '$ref' in promised)
    throw new Error(`${method} ${route.path} answered ${answer.status}, which is not described: ${answer.text}`);
  if (promised.content === undefined) {
    expect(answer.text).toBe('');
    return;
  }
  const [, schema] =
    Object.entries(promised.content).find(([media]) => type === media || type.startsWith(`${media};`)) ?? [];
  if (schema === undefined || '$ref' in schema) throw new Error(`${method} ${route.path}: ${type} is not described`);
  if (answer.json === undefined) return;
  const checked = (schema.schema as z.ZodType).safeParse(answer.json);
  expect(checked.error?.message).toBeUndefined();
}
