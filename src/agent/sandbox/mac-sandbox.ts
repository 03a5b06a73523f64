import { existsSync, realpathSync } from 'node:fs';
import type { AttemptSpec } from '../../contract/attempt.ts';
import { startAgent, type AgentProcess } from '../agent-process.ts';
import { agentCommand } from '../child-env.ts';
import type { PlacePaths } from '../place.ts';
import { builtinFiles, nodeFiles } from './own-files.ts';
import { sandboxExecCommand, sandboxExecProfile } from './sandbox-exec.ts';

/** Starts an agent under `sandbox-exec` on macOS (see `sandbox-exec.ts`: unverified). Errors: AgentMissing. */
export function startOnMac(
  given: readonly string[],
  how: { cwd: string; env: Record<string, string>; baseUrl: string },
  options: { spec: AttemptSpec; paths: Pick<PlacePaths, 'workspace' | 'home' | 'tmp'>; node: string },
): Promise<AgentProcess> {
  const { spec, paths, node } = options;
  const command = agentCommand(given, node);
  const real = (path: string): string[] => (existsSync(path) ? [realpathSync(path)] : []);
  const profile = sandboxExecProfile({
    readable: [...nodeFiles(node), ...builtinFiles(), command[0], ...spec.agent.read_paths, ...spec.sandbox.read_paths]
      .filter((path) => path.startsWith('/'))
      .flatMap(real),
    writable: [paths.workspace, paths.home, paths.tmp].flatMap(real),
    port: Number(new URL(how.baseUrl).port),
  });
  return startAgent(sandboxExecCommand(profile, command), how);
}
