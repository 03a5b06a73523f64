import { existsSync } from 'node:fs';
import { dirname, extname, join, sep } from 'node:path';

/** What of ours, and of Node, a sandbox shows besides the system. */

/** The folder of our code: `src`, or `dist` where it is compiled. */
const CODE = dirname(dirname(import.meta.dirname));
const PACKAGE = dirname(CODE);

/** The init's file. Node looks into the package's manifest for how it is to be read. */
export const INIT = join(CODE, 'agent', `sandbox-init-main${extname(import.meta.filename)}`);
export const INIT_FILES: readonly string[] = [INIT, join(PACKAGE, 'package.json')];

/** What the built-in agent is made of: our code and the packages it needs, wherever an installer has put them. */
export function builtinFiles(): string[] {
  const parts = PACKAGE.split(sep);
  const outermost = parts.indexOf('node_modules');
  return [
    CODE,
    join(PACKAGE, 'package.json'),
    join(PACKAGE, 'node_modules'),
    ...(outermost < 0 ? [] : [parts.slice(0, outermost + 1).join(sep)]),
  ];
}

/** The Node binary; where it came with npm in a folder of its own (nvm, a tarball), that as well: agents run `npm test`. */
export function nodeFiles(node: string): string[] {
  const bin = dirname(node);
  const lib = join(dirname(bin), 'lib', 'node_modules');
  return existsSync(join(lib, 'npm')) ? [node, bin, lib] : [node];
}
