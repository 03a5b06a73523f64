import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { SandboxLimits } from '../../contract/sandbox.ts';

/**
 * A control group for one attempt, where this user may make one: it bounds memory and processes of all of an attempt together, which
 * no rlimit does. Version 2: below a delegated group, as systemd gives one to a user's session. Version 1: below our own group, as
 * root has it. Files: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/{memory,pids}.rst of Linux.
 */
export interface Group {
  /** The folders whose `cgroup.procs` a process must be written to: one, or with version 1 one per controller. */
  folders: string[];
  /** How many of its processes the kernel has killed for want of memory. */
  oomKills(): number;
  /** Removes it; nothing must run in it any more. Waits a moment for what is just ending. */
  remove(): Promise<void>;
}

export interface GroupOptions {
  name: string;
  limits: Pick<SandboxLimits, 'max_memory_bytes' | 'max_processes'>;
  /** Where control groups are mounted, and what says which we are in; told for tests. */
  root?: string | undefined;
  self?: string | undefined;
}

const ROOT = '/sys/fs/cgroup';
const SELF = '/proc/self/cgroup';
/** bubblewrap's own two processes, and the init beside the agent with its threads. */
const OURS = 24;

/** Makes the group; null where that is not permitted, or a controller is not there. */
export function makeGroup(options: GroupOptions): Group | null {
  for (const base of basesOf(options.root ?? ROOT, options.self ?? SELF)) {
    const made = tryIn(base, options);
    if (made !== null) return made;
  }
  return null;
}

/** Removes what is left of an attempt's group after its recorder died; nothing of it must run any more. */
export async function removeGroup(name: string): Promise<void> {
  for (const { folders } of basesOf(ROOT, SELF))
    for (const folder of folders) await removeFolder(join(folder, groupName(name)));
}

/** Where a group could be made: the folder of each controller in which it would lie. */
interface Base {
  version: 1 | 2;
  folders: string[];
}

function basesOf(root: string, self: string): Base[] {
  const lines = (read(self) ?? '').split('\n').map((line) => {
    const [, controllers = '', ...path] = line.split(':');
    return { controllers: controllers.split(','), path: path.join(':') };
  });
  if (read(join(root, 'cgroup.controllers')) === null) {
    const folders = ['memory', 'pids'].flatMap((controller) => {
      const own = lines.find(({ controllers }) => controllers.includes(controller));
      return own === undefined ? [] : [join(root, controller, own.path)];
    });
    return folders.length === 2 && folders.every((folder) => existsSync(folder)) ? [{ version: 1, folders }] : [];
  }
  // A group with processes of its own has no groups below it that bound anything: ours lies beside us, or beside one around us.
  const own = lines.find(({ controllers }) => controllers.join('') === '')?.path ?? '/';
  const bases: Base[] = [];
  for (let at = own; ; at = dirname(at)) {
    const folder = join(root, at);
    const given = (read(join(folder, 'cgroup.subtree_control')) ?? '').trim().split(' ');
    if (given.includes('memory') && given.includes('pids')) bases.push({ version: 2, folders: [folder] });
    if (at === dirname(at)) return bases;
  }
}

function tryIn(base: Base, { name, limits }: GroupOptions): Group | null {
  const folders = base.folders.map((folder) => join(folder, groupName(name)));
  const [memory = '', pids = memory] = folders;
  try {
    for (const folder of folders) mkdirSync(folder);
    const processes = String(limits.max_processes + OURS);
    if (base.version === 2) {
      writeFileSync(join(memory, 'memory.max'), String(limits.max_memory_bytes));
      writeFileSync(join(memory, 'pids.max'), processes);
      // Without them it holds all the same: what is swapped out is bounded by the disk, and one killed process is noticed.
      tryWrite(join(memory, 'memory.swap.max'), '0');
      tryWrite(join(memory, 'memory.oom.group'), '1');
      // Whether processes may be moved into it is only known by trying: the nearest group around both must be ours.
      if (!mayWrite(join(dirname(memory), 'cgroup.procs'))) throw new Error('not delegated');
    } else {
      writeFileSync(join(memory, 'memory.limit_in_bytes'), String(limits.max_memory_bytes));
      tryWrite(join(memory, 'memory.memsw.limit_in_bytes'), String(limits.max_memory_bytes));
      writeFileSync(join(pids, 'pids.max'), processes);
    }
  } catch {
    for (const folder of folders) tryRemove(folder);
    return null;
  }
  const events = join(memory, base.version === 2 ? 'memory.events' : 'memory.oom_control');
  return {
    folders,
    oomKills: () => Number(/^oom_kill (\d+)$/m.exec(read(events) ?? '')?.[1] ?? 0),
    remove: async () => {
      for (const folder of folders) await removeFolder(folder);
    },
  };
}

function groupName(name: string): string {
  return `aideator-${name}`;
}

async function removeFolder(folder: string): Promise<void> {
  for (let tries = 0; existsSync(folder) && !tryRemove(folder) && tries < 100; tries += 1) await wait(20);
}

function tryRemove(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return !existsSync(folder);
  }
}

function tryWrite(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch {
    // Not every kernel has it.
  }
}

function mayWrite(path: string): boolean {
  try {
    writeFileSync(path, '', { flag: 'r+' });
    return true;
  } catch {
    return false;
  }
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
