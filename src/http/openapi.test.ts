import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ask } from '../../test/support/answers.ts';
import { testDoor } from '../../test/support/public-door.ts';
import { run } from '../contract/api.ts';
import { openApiDocument } from './openapi.ts';

interface Operation {
  operationId: string;
  security: Record<string, string[]>[];
  responses: Record<string, { content?: Record<string, unknown> }>;
}

interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Record<string, unknown>>; securitySchemes: Record<string, unknown> };
}

const read = (path: string): unknown => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'));
const describe = (version: string): Document => JSON.parse(JSON.stringify(openApiDocument(version))) as Document;

it('is what the repository has; else `node scripts/openapi.ts` writes it', () => {
  const { version } = read('package.json') as { version: string };
  expect(read('openapi.json')).toEqual(openApiDocument(version));
});

it('describes every route of the API that there is, and no other', async () => {
  const { app } = await testDoor();
  const served = JSON.parse((await ask(app, 'GET', '/openapi.json')).text) as Document;
  expect(served).toEqual(openApiDocument('0.0.0-test'));
  const described = Object.entries(served.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const routed = app.routes
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`);
  const beside = new Set(['GET /openapi.json', 'GET /docs', 'GET /docs/{file}', 'GET /']);
  expect(new Set(routed.filter((route) => !beside.has(route)))).toEqual(new Set(described));
  expect(described).toHaveLength(29);
});

it('says of every operation what it is refused with, and which key it needs', () => {
  const { openapi, paths, components } = describe('1');
  expect(openapi).toBe('3.1.0');
  expect(components.securitySchemes['bearerAuth']).toMatchObject({ type: 'http', scheme: 'bearer' });
  const operations = Object.values(paths).flatMap((methods) => Object.entries(methods));
  expect(new Set(operations.map(([, { operationId }]) => operationId)).size).toBe(operations.length);
  for (const [method, { operationId, responses, security }] of operations) {
    expect([operationId, Object.keys(responses)]).toEqual([
      operationId,
      expect.arrayContaining(['401', '403', '500', '503']) as string[],
    ]);
    if (method === 'post')
      expect(Object.keys(responses)).toEqual(expect.arrayContaining(['400', '409', '413', '415', '422']));
    for (const [status, { content }] of Object.entries(responses))
      if (Number(status) >= 400) expect(Object.keys(content ?? {})).toEqual(['application/problem+json']);
    expect([operationId, security.length === 0 || 'bearerAuth' in (security[1] ?? {})]).toEqual([operationId, true]);
  }
});

it('admits null exactly where the schemas do', () => {
  const { schemas } = describe('1').components;
  const choice = (schemas['Run']?.['properties'] as Record<string, unknown> | undefined)?.['choice'];
  expect(choice).toEqual({ anyOf: [{ $ref: '#/components/schemas/Choice' }, { type: 'null' }] });
  expect(schemas['Choice']?.['type']).toBe('object');
  const required = (name: string): unknown => schemas[name]?.['required'];
  expect(required('Run')).toEqual(Object.keys(run.shape));
  expect(required('SubmitRequest')).toEqual(['repository', 'prompt']);
  expect(schemas['SubmitRequest']?.['additionalProperties']).toBe(false);
});
