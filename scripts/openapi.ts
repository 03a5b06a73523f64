import { readFileSync, writeFileSync } from 'node:fs';
import { openApiDocument } from '../src/http/openapi.ts';

/** Writes the API's description to openapi.json at the repository's root. A test compares the two. */
const root = new URL('../', import.meta.url);
const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string };
writeFileSync(new URL('openapi.json', root), `${JSON.stringify(openApiDocument(version), null, 2)}\n`);
