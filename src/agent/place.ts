import { mkdir } from 'node:fs/promises';
import type { AttemptResult, AttemptSpec, EarlierWork } from '../contract/attempt.ts';
import { startAgent, type AgentProcess } from './agent-process.ts';
import { agentCommand } from './child-env.ts';
import { attemptPaths, type AttemptPaths } from './claim.ts';
import type { JournalOptions } from './journal.ts';
import { killStragglers } from './process-identity.ts';
import type { ProxyOptions } from './proxy.ts';
import { agentSandbox } from './sandbox/agent-sandbox.ts';
import { startOnMac } from './sandbox/mac-sandbox.ts';
import { promptsIn, type PromptSource } from './prompts.ts';

/** What of an attempt lies where. */
export type PlacePaths = Pick<
  AttemptPaths,
  'journal' | 'reserve' | 'workspace' | 'home' | 'tmp' | 'snapshot' | 'patch' | 'recorderLog'
>;

/**
 * Where a recorder runs its attempt: beside it, as processes of this machine ({@link localPlace}), or in a pod, where the agent has
 * a container of its own (`pod/pod-place.ts`). Everything that is different between the two, and nothing else.
 */
export interface Place {
  paths: PlacePaths;
  /** What the agent's environment starts from; only an allow-list of it is passed on. */
  agentEnv: Record<string, string | undefined>;
  /** Whether a workspace may share object files with what it is cloned from: not where the agent is to be kept from those. */
  linked: boolean;
  /** Where the agent reaches the recorder's proxy; left out = on a loopback port. */
  listen?: ProxyOptions['listen'];
  /** What else becomes of a journal's lines. */
  journal: Pick<JournalOptions, 'onAppend' | 'onWritten' | 'resume'>;
  /** Makes the folders that are not there. */
  prepare(): Promise<void>;
  /** Where the base can be cloned from; brings it here first, where it is not. Errors: as git has them. */
  source(signal: AbortSignal): Promise<string>;
  /** Where the patch lies that the work tree starts with; brings it here first, where it is not. Errors: what kept it. */
  earlierWork(work: EarlierWork, signal: AbortSignal): Promise<string>;
  /** What the agent is to do next, when its turn has ended. */
  prompts: PromptSource;
  /** Resolves when an agent could be started. Errors: {@link AgentMissing}. */
  ready(): Promise<void>;
  /** Starts the agent; `{node}` and `{builtin}` in its command are the place's own. Errors: {@link AgentMissing}. */
  start(
    command: readonly string[],
    options: { cwd: string; env: Record<string, string>; baseUrl: string },
  ): Promise<AgentProcess>;
  /** Kills what the agent left running, wherever it went. How many that were; null where nobody could be asked. */
  killRest(): Promise<number | null>;
  /** Brings the patch to where it is wanted. Errors: what kept it. */
  deliver(result: AttemptResult): Promise<void>;
}

/** The attempt's processes are children of the recorder, its files lie in the attempt's directory, and whoever wants them reads them there. */
export function localPlace(options: {
  spec: AttemptSpec;
  /** The attempt's directory, claimed. */
  directory: string;
  env: Record<string, string | undefined>;
  /** The Node binary for agents that are JavaScript. */
  node: string;
}): Place {
  const { spec, directory, node } = options;
  const paths = attemptPaths(directory);
  const sandbox =
    spec.sandbox.kind === 'bubblewrap' ? agentSandbox({ spec, paths, folder: paths.sandbox, node }) : null;
  return {
    paths,
    agentEnv: options.env,
    linked: spec.sandbox.kind === 'none',
    listen: sandbox === null ? undefined : { folder: paths.sandbox },
    journal: {},
    prepare: async () => {
      await mkdir(paths.home, { mode: 0o700 });
      await mkdir(paths.tmp, { mode: 0o700 });
    },
    source: () => Promise.resolve(spec.repository.source),
    earlierWork: ({ file }) =>
      file === null ? Promise.reject(new Error('It is not said where the patch lies.')) : Promise.resolve(file),
    prompts: promptsIn(options.directory),
    ready: () => Promise.resolve(),
    start: (command, how) => {
      if (sandbox !== null) return sandbox.start(command, how);
      return spec.sandbox.kind === 'sandbox-exec'
        ? startOnMac(command, how, { spec, paths, node })
        : startAgent(agentCommand(command, node), how);
    },
    killRest: async () => {
      const inside = (await sandbox?.killAll()) ?? 0;
      const found = await killStragglers(spec.attempt_id);
      return inside === null ? null : inside + found;
    },
    deliver: () => Promise.resolve(),
  };
}
