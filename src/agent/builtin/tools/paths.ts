import { existsSync, realpathSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path';
import { ToolFailure } from './tool.ts';

/** A path of the model's as an absolute one. */
export function absolute(path: string, cwd: string): string {
  if (path.includes('\0')) throw new ToolFailure('A path cannot have a NUL in it.');
  return resolve(cwd, path);
}

/** As {@link absolute}, for writing: only in the workspace, links followed, because a slip elsewhere would change the user's own files. */
export function writable(path: string, cwd: string): string {
  const target = absolute(path, cwd);
  let there = target;
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there);
  const real = realpathSync(there);
  const root = realpathSync(cwd);
  if (real !== root && !real.startsWith(root + sep)) {
    throw new ToolFailure(`${path} is outside of the workspace ${cwd}; only files in it can be written.`);
  }
  return target;
}

/** A path as people read it: from the workspace where it lies in it. */
export function shown(path: string, cwd: string): string {
  const from = relative(cwd, resolve(cwd, path));
  return from === '' ? '.' : from.startsWith('..') || isAbsolute(from) ? path : from;
}
