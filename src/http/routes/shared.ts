import { z } from '@hono/zod-openapi';
import type { RouteConfig } from '@hono/zod-openapi';
import { problem } from '../../contract/api-system.ts';
import { RUN_ID } from '../../contract/ids.ts';
import type { Scope } from '../door.ts';
import { PROBLEM_TYPE } from '../problem.ts';

/** What the routes' definitions have in common. */

export const API = '/api/v1';

/** A decimal integer in a path or query, within bounds. */
export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER) {
  return z
    .string()
    .regex(/^(0|[1-9]\d{0,15})$/, 'Must be an integer, in digits.')
    .transform(Number)
    .pipe(z.int().min(min).max(max))
    .openapi({ type: 'integer', minimum: min, maximum: max });
}

export const runId = z
  .string()
  .regex(RUN_ID, 'A run id is a letter and nine letters or digits.')
  .openapi({ example: 'kq7m2xw9hc' });
export const variationId = integer(0).openapi({ description: 'Index of the variation, from 0.' });

export const runParams = z.strictObject({ id: runId });
export const variationParams = z.strictObject({ id: runId, v: variationId });

/** A body that may be left out, and has nothing in it. */
export const noFields = {
  content: { 'application/json': { schema: z.strictObject({}).meta({ id: 'Nothing' }) } },
  required: false,
} as const;

export const idempotencyHeader = z.object({
  'Idempotency-Key': z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/, 'Must be 1 to 200 visible ASCII characters.')
    .optional()
    .openapi({
      description:
        'The same request with the same key, within 24 hours, is done once and answered the same. Only successes are kept.',
    }),
});

const ALL = {
  401: 'No valid API key.',
  403: 'The key may not do that; or a web page from elsewhere asked.',
  500: 'A fault of ours.',
  503: 'The server is shutting down.',
};
const REASONS = {
  400: 'The request does not fit the schema.',
  402: 'A budget is used up.',
  404: 'No such thing.',
  409: 'Not in this state.',
  413: 'The body is too large.',
  415: 'The body is not JSON.',
  422: 'Understood, but cannot be done.',
  429: 'Too many wait already.',
  502: 'Somebody else (a repository, a provider) failed.',
  507: 'The disk is full.',
};

type Reason = keyof typeof REASONS;

/** What every POST may be refused with. */
export const POST_REFUSALS = [400, 409, 413, 415, 422, 502, 507] as const;

function refused(description: string) {
  return { description, content: { [PROBLEM_TYPE]: { schema: problem } } };
}

/** The refusals of an operation: the ones any may get, and these. */
export function refusals(...reasons: readonly Reason[]): RouteConfig['responses'] {
  return Object.fromEntries([
    ...Object.entries(ALL).map(([status, description]) => [status, refused(description)]),
    ...reasons.map((status) => [status, refused(REASONS[status])]),
  ]);
}

export function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { 'application/json': { schema } } };
}

export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true, content: { 'application/json': { schema } } } as const;
}

export function diffText(description: string) {
  return { description, content: { 'text/x-diff': { schema: z.string().openapi({ format: 'binary' }) } } };
}

/** A diff's exact bytes. They have no charset: files may have any. */
export function diffResponse(bytes: Uint8Array, fileName: string): Response {
  return new Response(new Uint8Array(bytes), {
    headers: { 'content-type': 'text/x-diff', 'content-disposition': `inline; filename="${fileName}"` },
  });
}

/** Needs a key of that scope, or a server that listens on loopback only. */
export function needs(scope: Scope): { security: Record<string, string[]>[] } {
  return { security: [{}, { bearerAuth: [scope] }] };
}
