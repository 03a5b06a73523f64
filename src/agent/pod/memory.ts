import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What the kernel says of a container's memory, from inside it: cgroup v2 has its files at the mount's top, v1 below `memory/`
 * (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst).
 */

/** How many processes of the container were killed for want of memory so far; 0 where that cannot be read. */
export function readOomKills(cgroup: string): number {
  const text = read(join(cgroup, 'memory.events')) ?? read(join(cgroup, 'memory', 'memory.oom_control')) ?? '';
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}

/** Bytes that the container may use; null where there is no limit or it cannot be read. */
export function readMemoryLimit(cgroup: string): number | null {
  const text = read(join(cgroup, 'memory.max')) ?? read(join(cgroup, 'memory', 'memory.limit_in_bytes')) ?? '';
  const bytes = /^\d+$/.test(text.trim()) ? Number(text) : Infinity;
  // v1 has no word for "no limit": its largest number of pages stands for it.
  return bytes < 2 ** 60 ? bytes : null;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
