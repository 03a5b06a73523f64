/**
 * `node scripts/image-tree.mjs OUT PATH…`: what runs in an image, and nothing else: package.json, the given files and folders of
 * dist, and of our dependencies those that they import, with what these need in turn, without types, maps and prose.
 * All get one time (SOURCE_DATE_EPOCH, else 0), so that the same sources make the same layer.
 */
import { cpSync, existsSync, globSync, lstatSync, mkdirSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';

const root = dirname(import.meta.dirname);
const [out, ...paths] = process.argv.slice(2);
if (out === undefined || paths.length === 0) throw new Error('usage: image-tree.mjs OUT PATH…');

/** What compiled code imports: `from '…'`, `import '…'`, `import('…')`, of a package. A word in a text that looks the same is no harm. */
const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*['"]((?:@[\w.-]+\/)?[\w.-]+)[^'"\n]*['"]/g;
const NO_CODE = /\.([cm]?tsx?|map|flow|md|markdown|tsbuildinfo)$/i;
const LICENCE = /^(licen[cs]e|notice|copying)/i;
const PROSE = new Set(['docs', 'doc', 'test', 'tests', '__tests__', 'example', 'examples', 'benchmark', 'benchmarks']);

const packageOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** The folder of a package, looked up from another's as Node does; null where it is not installed. */
function find(name, from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const found = join(folder, 'node_modules', name);
    if (existsSync(join(found, 'package.json'))) return found;
    if (folder === root) return null;
  }
}

const packages = new Set();
function add(name, from, optional = false) {
  const found = find(name, from);
  if (found === null && !optional)
    throw new Error(`${name}, which ${relative(root, from) || 'dist'} needs, is not there`);
  if (found === null || packages.has(found)) return;
  packages.add(found);
  const {
    dependencies = {},
    optionalDependencies = {},
    peerDependencies = {},
    peerDependenciesMeta = {},
  } = packageOf(found);
  for (const each of Object.keys({ ...dependencies, ...optionalDependencies }))
    add(each, found, each in optionalDependencies);
  // An optional peer is there for others or not at all.
  for (const each of Object.keys(peerDependencies)) if (peerDependenciesMeta[each]?.optional !== true) add(each, found);
}

mkdirSync(out, { recursive: true });
for (const file of ['package.json', 'LICENSE']) cpSync(join(root, file), join(out, file));
const declared = packageOf(root).dependencies;
for (const path of paths) {
  cpSync(join(root, path), join(out, path), { recursive: true });
  const files = lstatSync(join(root, path)).isDirectory() ? globSync(`${path}/**/*.js`, { cwd: root }) : [path];
  for (const file of files) {
    for (const [, name] of readFileSync(join(root, file), 'utf8').matchAll(IMPORT))
      if (name in declared) add(name, root);
  }
}
for (const folder of packages) {
  cpSync(folder, join(out, relative(root, folder)), {
    recursive: true,
    filter: (path) => {
      if (!lstatSync(path).isDirectory()) return LICENCE.test(basename(path)) || !NO_CODE.test(path);
      // Packages inside of this one are copied on their own account, where something needs them.
      return basename(path) !== 'node_modules' && !(dirname(path) === folder && PROSE.has(basename(path)));
    },
  });
}

const seconds = Number(process.env.SOURCE_DATE_EPOCH ?? 0);
let bytes = 0;
for (const path of ['.', ...readdirSync(out, { recursive: true })]) {
  const stat = lstatSync(join(out, path));
  if (stat.isFile()) bytes += stat.size;
  utimesSync(join(out, path), seconds, seconds);
}
process.stdout.write(`${resolve(out)}: ${packages.size} packages, ${(bytes / 1e6).toFixed(1)} MB\n`);
