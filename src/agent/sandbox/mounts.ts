import { isAbsolute, relative, sep } from 'node:path';
import type { Shown } from './system-folders.ts';

/** What a sandbox has of the file system. All paths are absolute; inside they are what they are outside. */
export interface View {
  /** Read-only: the system, the agent's own files, what the configuration opens. */
  shown: readonly Shown[];
  /** Writable: workspace, HOME, TMPDIR. */
  writable: readonly string[];
  /** Not shown, though a folder around it may be. A path that is shown or writable within it still is. */
  hidden: readonly string[];
  /** Files of ours by the path they are found at inside. */
  placed: Readonly<Record<string, string>>;
}

/** One step of making the sandbox's file system. They are in an order in which each may lie in one before it. */
export type Mount =
  | { kind: 'read'; path: string; source: string }
  | { kind: 'write'; path: string }
  | { kind: 'link'; path: string; target: string }
  /** An empty folder. */
  | { kind: 'empty'; path: string };

/** The mounts of a view: folders before what is in them, nothing twice. */
export function mountsOf(view: View): Mount[] {
  const wanted: Mount[] = [
    ...view.shown.map(({ path, link }): Mount =>
      link === undefined ? { kind: 'read', path, source: path } : { kind: 'link', path, target: link },
    ),
    ...view.hidden.map((path): Mount => ({ kind: 'empty', path })),
    ...Object.entries(view.placed).map(([path, source]): Mount => ({ kind: 'read', path, source })),
    ...view.writable.map((path): Mount => ({ kind: 'write', path })),
  ];
  const mounts: Mount[] = [];
  for (const each of wanted.toSorted((a, b) => depth(a.path) - depth(b.path))) {
    const at = mounts.findIndex(({ path }) => path === each.path);
    const around = mounts.findLast((other) => other.path !== each.path && isWithin(each.path, other.path));
    // A hidden path that nothing around it shows is not there anyway.
    if (each.kind === 'empty' && at < 0 && (around === undefined || around.kind === 'empty')) continue;
    // A folder that is shown shows what is in it.
    if ((each.kind === 'read' || each.kind === 'link') && around?.kind === 'read' && !isPlaced(view, each)) continue;
    if (at < 0) mounts.push(each);
    else mounts[at] = each;
  }
  return mounts;
}

/** Whether a path is another one or lies in it. */
export function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

function isPlaced(view: View, mount: Mount): boolean {
  return Object.hasOwn(view.placed, mount.path);
}

function depth(path: string): number {
  return path.split(sep).filter(Boolean).length;
}
