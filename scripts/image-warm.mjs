/**
 * `node image-warm.mjs APP`, in a build, with NODE_COMPILE_CACHE: imports what the programs of APP/dist import, so that its compiled
 * form is kept. The programs themselves (`main`, `*-main`, `*-worker`) are not: importing one is running it. Beside this file is a
 * link to APP/node_modules, from where packages that are imported only when needed are found.
 */
import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const app = resolve(process.argv[2] ?? '.');
const PROGRAM = /(^|\/|-)(main|worker|bundle)\.js$/;
const LAZY = /\bimport\('([^.'\n][^'\n]*)'\)/g;
const { dependencies } = JSON.parse(readFileSync(join(app, 'package.json'), 'utf8'));

for (const path of globSync('dist/**/*.js', { cwd: app }).toSorted()) {
  const file = join(app, path);
  for (const [, name] of readFileSync(file, 'utf8').matchAll(LAZY)) if (name in dependencies) await import(name);
  if (!PROGRAM.test(path)) await import(file);
}
// What was imported may hold the process; the cache is written when it ends.
process.exit(0);
