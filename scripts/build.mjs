/** `npm run build`: src compiled to dist, with what src reads by path beside it. What is published is dist. */
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

// Scripts of the scripted model, prices and the like: every file that is no code keeps its place.
cpSync(join(root, 'src'), dist, {
  recursive: true,
  filter: (path) => statSync(path).isDirectory() || !path.endsWith('.ts'),
});

// The page at /docs is served without a CDN: its files lie beside dist/http/routes/docs.js. In development they come from node_modules.
const docs = join(dist, 'http', 'routes', 'docs');
mkdirSync(docs, { recursive: true });
for (const file of ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png', 'LICENSE', 'NOTICE']) {
  cpSync(join(root, 'node_modules/swagger-ui-dist', file), join(docs, file));
}

chmodSync(join(dist, 'main.js'), 0o755);
