import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { SandboxSpec } from '../../contract/sandbox.ts';
import { findProgram } from '../catalog/find-agent.ts';
import { inheritedEnvironment } from '../child-env.ts';
import { runProgram, type Ended } from '../run-program.ts';
import { makeSandbox } from './make.ts';
import { nodeFiles } from './own-files.ts';
import { sandboxExecCommand, sandboxExecProfile } from './sandbox-exec.ts';
import { hasFilter, seccompFilter } from './seccomp.ts';
import { shownPaths, systemFolders } from './system-folders.ts';

export interface OnceOptions {
  sandbox: SandboxSpec;
  /** Where the program lies. */
  readPaths: readonly string[];
  /** Of it the program gets PATH and the locale. */
  env: Readonly<Record<string, string | undefined>>;
  /** The Node binary. */
  node: string;
  signal: AbortSignal;
  timeoutMs: number;
}

/**
 * Runs a program of an agent's, to ask its version or whether it runs at all: it is somebody else's, and is kept in as in an attempt,
 * with an empty HOME and no way to anywhere. Null where a sandbox is wanted and none works: it was not run. Errors: of the system,
 * where it cannot be started.
 */
export async function runOnce(
  [program, ...args]: readonly [string, ...string[]],
  options: OnceOptions,
): Promise<Ended | null> {
  const { sandbox, node, signal, timeoutMs } = options;
  const { kind, limits } = sandbox;
  const root = await realpath(await mkdtemp(join(tmpdir(), 'aideator-once-')));
  try {
    const home = join(root, 'home');
    await mkdir(home);
    const env: Record<string, string> = {
      ...inheritedEnvironment(options.env),
      HOME: home,
      TMPDIR: home,
      TERM: 'dumb',
    };
    const file = findProgram(program, env['PATH']) ?? program;
    const how = { cwd: home, env, signal, timeoutMs };
    if (kind === 'none') return await runProgram(file, args, how);
    const readable = [...nodeFiles(node), file, ...options.readPaths, ...sandbox.read_paths].filter(isAbsolute);
    if (kind === 'sandbox-exec') {
      const profile = sandboxExecProfile({ readable, writable: [home], port: 9 });
      const [maker, ...rest] = sandboxExecCommand(profile, [file, ...args]);
      return await runProgram(maker, rest, how);
    }
    if (sandbox.program === null || !hasFilter(process.arch)) return null;
    const { command } = await makeSandbox({
      program: sandbox.program,
      folder: join(root, 'sandbox'),
      home,
      cwd: home,
      shown: [...systemFolders(), ...shownPaths(readable)],
      writable: [home],
      hidden: sandbox.hidden,
      placed: {},
      limits,
      groups: [],
      user: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
      command: [file, ...args],
    });
    const [maker, ...rest] = command;
    return await runProgram(maker, rest, { ...how, cwd: '/' }, seccompFilter(process.arch));
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}
