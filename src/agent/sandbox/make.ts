import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SandboxLimits } from '../../contract/sandbox.ts';
import { bubblewrapArguments, HOSTNAME, insideUser, PROC } from './bubblewrap.ts';
import { inGroups, withRlimits } from './limits.ts';
import type { View } from './mounts.ts';
import { FDS } from './sandboxed-process.ts';
import type { Shown } from './system-folders.ts';

export interface MakeOptions {
  /** bubblewrap. */
  program: string;
  /** A folder for the files that are made for it; not shown. */
  folder: string;
  home: string;
  cwd: string;
  shown: readonly Shown[];
  writable: readonly string[];
  hidden: readonly string[];
  /** Path inside -> file outside, besides those that are made. */
  placed: Readonly<Record<string, string>>;
  limits: SandboxLimits;
  /** Control groups to run in; empty where there are none. */
  groups: readonly string[];
  user: { uid: number; gid: number };
  /** What runs inside. */
  command: readonly string[];
}

/** The whole command of a sandbox, and what it shows. Makes the files it names. */
export async function makeSandbox(options: MakeOptions): Promise<{ command: [string, ...string[]]; view: View }> {
  const { folder, limits, groups } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { uid, gid } = insideUser(options.user);
  const files = {
    passwd: `agent:x:${uid}:${gid}:agent:${options.home}:/bin/sh\n`,
    group: `agent:x:${gid}:\n`,
    hosts: `127.0.0.1 localhost ${HOSTNAME}\n::1 localhost\n`,
  };
  const placed: Record<string, string> = { ...options.placed };
  for (const [name, text] of Object.entries(files)) {
    placed[`/etc/${name}`] = join(folder, name);
    await writeFile(join(folder, name), text);
  }
  const view: View = { shown: options.shown, writable: options.writable, hidden: options.hidden, placed };
  const inside = bubblewrapArguments({
    view,
    cwd: options.cwd,
    user: options.user,
    limits,
    fds: FDS,
    proc: PROC.filter((path) => existsSync(path)),
    command: withRlimits(limits, groups.length > 0, options.command),
  });
  const [program = options.program, ...args] = inGroups(groups, [options.program, ...inside]);
  return { command: [program, ...args], view };
}
