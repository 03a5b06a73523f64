import { OpenAPIHono } from '@hono/zod-openapi';
import { choice } from '../contract/api.ts';
import { agentRoutes } from './routes/agents.ts';
import { keyRoutes } from './routes/keys.ts';
import { runRoutes } from './routes/runs.ts';
import { streamRoutes } from './routes/stream.ts';
import { systemRoutes } from './routes/system.ts';
import { variationRoutes } from './routes/variations.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The OpenAPI 3.1 document, made from the schemas that requests are checked with. */
export function openApiDocument(version: string): Json {
  const { openAPIRegistry: registry, getOpenAPI31Document } = new OpenAPIHono();
  registry.registerComponent('securitySchemes', 'bearerAuth', {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'aid_<id>_<secret>',
    description: 'An API key. Not needed where the server listens on loopback only. Scopes: read < run < admin.',
  });
  // By itself first, because its other places may be null, and a component takes the shape of the first place.
  // A clone, because only schemas made after zod was extended can be registered, and the contract may be loaded before.
  registry.register('Choice', choice.clone());
  const groups = [runRoutes, streamRoutes, variationRoutes, agentRoutes, keyRoutes, systemRoutes];
  for (const route of groups.flatMap((group) => Object.values(group))) registry.registerPath(route);

  const document = getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'AIdeator',
      version,
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
      description: [
        'Runs N variations of a coding task, each isolated, shows every thought live, compares them and ships the one you pick.',
        '',
        'Times are UTC with milliseconds; money is integer micro-dollars; null means unknown. Errors are RFC 9457 documents with a `code` and a `hint`.',
      ].join('\n'),
    },
    servers: [{ url: '/' }],
    tags: [
      { name: 'runs', description: 'A task, and what becomes of it.' },
      { name: 'variations', description: 'The ways to do it.' },
      { name: 'agents', description: 'Who does it.' },
      { name: 'keys', description: 'Who may use a server that others can reach.' },
      { name: 'system', description: 'The server itself.' },
    ],
  });
  return tidy(JSON.parse(JSON.stringify(document)));
}

/**
 * Puts right what the generator gets wrong: `allOf: [{$ref}, {type: […, null]}]` for a nullable reference admits no null;
 * and an integer without bounds is one that JSON numbers carry exactly (zod refuses the others).
 */
function tidy(value: Json): Json {
  if (Array.isArray(value)) return value.map(tidy);
  if (typeof value !== 'object' || value === null) return value;
  const reference = Array.isArray(value['allOf']) ? value['allOf'].find(isReference) : undefined;
  if (reference !== undefined) return { anyOf: [reference, { type: 'null' }] };
  const tidied = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, tidy(inner)]));
  if (tidied['type'] === 'integer') {
    tidied['minimum'] ??= Number.MIN_SAFE_INTEGER;
    tidied['maximum'] ??= Number.MAX_SAFE_INTEGER;
  }
  return tidied;
}

function isReference(value: Json): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && '$ref' in value;
}
