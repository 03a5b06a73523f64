import { existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import type { AttemptSpec } from '../../contract/attempt.ts';
import { AgentMissing, type AgentProcess } from '../agent-process.ts';
import { findProgram } from '../catalog/find-agent.ts';
import { agentCommand } from '../child-env.ts';
import type { PlacePaths } from '../place.ts';
import { makeGroup } from './cgroup.ts';
import { sizeWords } from './limits.ts';
import { makeSandbox } from './make.ts';
import { INSIDE_PORT, INSIDE_SOCKET, modelSocket } from './model-socket.ts';
import { isWithin, mountsOf, type View } from './mounts.ts';
import { builtinFiles, INIT, INIT_FILES, nodeFiles } from './own-files.ts';
import { startInSandbox, type SandboxedProcess } from './sandboxed-process.ts';
import { hasFilter, seccompFilter } from './seccomp.ts';
import { shownPaths, systemFolders } from './system-folders.ts';

export interface AgentSandboxOptions {
  spec: AttemptSpec;
  paths: Pick<PlacePaths, 'workspace' | 'home' | 'tmp'>;
  /** Where its own files lie, the socket of the recorder's proxy among them. */
  folder: string;
  node: string;
}

/** An attempt's sandbox: starts the agent in it, and leaves nothing of it. */
export interface AgentSandbox {
  /** Errors: {@link AgentMissing}. */
  start(command: readonly string[], how: { cwd: string; env: Record<string, string> }): Promise<AgentProcess>;
  /** Kills everything in it. How many processes were there beside the agent's own group; null where some could not be killed. */
  killAll(): Promise<number | null>;
}

/** The sandbox of an agent on Linux, by bubblewrap. */
export function agentSandbox({ spec, paths, folder, node }: AgentSandboxOptions): AgentSandbox {
  let process_: SandboxedProcess | null = null;
  const { program: bubblewrap, limits, read_paths: opened, hidden } = spec.sandbox;

  async function start(
    given: readonly string[],
    { cwd, env }: { cwd: string; env: Record<string, string> },
  ): Promise<AgentProcess> {
    const { arch } = process;
    if (bubblewrap === null || !hasFilter(arch)) {
      throw new AgentMissing('The agent was not started: it is to run in a sandbox, and none works on this machine.');
    }
    const command = agentCommand(given, node);
    const program = findProgram(command[0], env['PATH']);
    if (program === null) throw new AgentMissing(notFound(command[0], env['PATH']));
    const group = makeGroup({ name: spec.attempt_id, limits });
    const { command: whole, view } = await makeSandbox({
      program: bubblewrap,
      folder,
      home: paths.home,
      cwd,
      shown: [
        ...systemFolders(),
        ...shownPaths([
          ...INIT_FILES,
          ...nodeFiles(node),
          ...(given.some((word) => word.includes('{builtin}')) ? builtinFiles() : []),
          program,
          ...spec.agent.read_paths,
          ...opened,
        ]),
      ],
      writable: [paths.workspace, paths.home, paths.tmp],
      hidden,
      placed: { [INSIDE_SOCKET]: modelSocket(folder) },
      limits,
      groups: group?.folders ?? [],
      user: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
      command: [node, INIT, String(INSIDE_PORT), INSIDE_SOCKET, ...command],
    });
    const unseen = command.slice(1).find((word) => isAbsolute(word) && existsSync(word) && !isSeen(view, word));
    if (unseen !== undefined) {
      await group?.remove();
      throw new AgentMissing(
        `The agent could not be started: ${unseen}, which its command names, is outside of its sandbox. Open it with \`read_paths\` of the agent, or \`sandbox.read_paths\`.`,
      );
    }
    process_ = await startInSandbox({
      command: whole,
      env,
      filter: seccompFilter(arch),
      group,
      outOfMemory: `The agent and its programs needed more than the ${sizeWords(limits.max_memory_bytes)} of memory that an attempt may have (\`sandbox.limits.max_memory_bytes\`).`,
      explain: (code) => explain(command[0], code),
    });
    return process_;
  }

  return {
    start,
    killAll: () => process_?.killAll() ?? Promise.resolve(0),
  };
}

/** Whether a path is there inside. */
function isSeen(view: View, path: string): boolean {
  const around = mountsOf(view).findLast((mount) => isWithin(path, mount.path));
  return around !== undefined && around.kind !== 'empty';
}

function notFound(program: string, path: string | undefined): string {
  const name = JSON.stringify(program);
  if (!program.includes('/')) return `The agent's program ${name} was not found on PATH (${path ?? 'not set'}).`;
  return existsSync(program)
    ? `The agent's program ${name} may not be executed.`
    : `The agent's program ${name} does not exist.`;
}

function explain(program: string, code: string): string {
  const name = JSON.stringify(program);
  return code === 'ENOENT'
    ? `The agent's program ${name} could not be started: what its first line names was not found in its sandbox. Open it with \`sandbox.read_paths\`.`
    : `The agent's program ${name} could not be started in its sandbox: ${code}.`;
}
