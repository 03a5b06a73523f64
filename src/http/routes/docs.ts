import { createReadStream, existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { AppError } from '../../errors.ts';
import type { DoorApp } from '../door.ts';
import { openApiDocument } from '../openapi.ts';

/** Swagger UI at /docs, from files of our own: nothing is loaded from elsewhere, and the policy forbids it. */

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AIdeator API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

const START = `window.ui = SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null });\n`;

const FILES: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

/** @param folder where the files of swagger-ui-dist are; null where they are not. */
export function addDocs(app: DoorApp, version: string, folder: string | null = findSwaggerUi()): void {
  const document = JSON.stringify(openApiDocument(version));
  app.get('/openapi.json', (c) => c.body(document, 200, { 'content-type': 'application/json' }));
  app.get('/docs', (c) => c.html(PAGE, 200, { 'content-security-policy': POLICY }));
  app.get('/docs/:file', async (c) => {
    const name = c.req.param('file');
    if (name === 'start.js') return c.body(START, 200, { 'content-type': 'text/javascript; charset=utf-8' });
    const type = FILES[name];
    if (type === undefined)
      throw new AppError('not_found', `There is no ${c.req.path}.`, { hint: 'The documentation begins at /docs.' });
    const path = folder === null ? null : join(folder, name);
    const size =
      path === null
        ? null
        : await stat(path).then(
            (found) => found.size,
            () => null,
          );
    if (path === null || size === null) {
      throw new AppError('not_found', 'Swagger UI is not part of this installation.', {
        hint: '/openapi.json has the whole description.',
      });
    }
    return new Response(Readable.toWeb(createReadStream(path)), {
      headers: { 'content-type': type, 'content-length': String(size), 'cache-control': 'max-age=3600' },
    });
  });
}

/** In a build the files lie in `docs` beside the program; in a checkout they are the package's. */
function findSwaggerUi(): string | null {
  const built = fileURLToPath(new URL('./docs/', import.meta.url));
  if (existsSync(built)) return built;
  try {
    return dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  } catch {
    return null;
  }
}
