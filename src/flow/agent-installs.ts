import { statSync } from 'node:fs';
import type { AgentEntry } from '../agent/catalog.ts';
import { findAgent, findProgram, type FoundAgent } from '../agent/catalog/find-agent.ts';
import { installAgent } from '../agent/catalog/npm-install.ts';
import { runOnce } from '../agent/sandbox/run-once.ts';
import type { AgentView } from '../contract/api-system.ts';
import { AppError, toAppError } from '../errors.ts';
import { agentPlaces, howToGet, locateAgent } from './agents.ts';
import type { RunningContext } from './context.ts';
import { sandboxOf } from './sandbox.ts';

/** What is known of the agents here, and the way to get one. */
export interface AgentInstalls {
  list(): Promise<AgentView[]>;
  /** Errors: unknown_agent. */
  view(name: string): Promise<AgentView>;
  /**
   * Begins to install an agent, unless it is being installed, or is there and `force` is not given. Its view says how that goes
   * on. Errors: unknown_agent; invalid_request where there is nothing to install; agent_missing where it does not run here.
   */
  install(name: string, options: { force: boolean }): Promise<AgentView>;
  /** Stops what is being installed. */
  close(): Promise<void>;
}

/** How long a program may take to say its version (ms). */
const VERSION_MS = 20_000;

export function createAgentInstalls(
  context: Pick<RunningContext, 'config' | 'agents' | 'telemetry' | 'version' | 'sandbox' | 'runtime'>,
): AgentInstalls {
  const { config, agents, telemetry } = context;
  const running = new Map<string, Promise<void>>();
  const failures = new Map<string, AppError>();
  const versions = new Map<string, Promise<string | null>>();
  const stop = new AbortController();

  function entryOf(name: string): AgentEntry {
    const entry = agents.get(name);
    if (entry !== undefined) return entry;
    throw new AppError('unknown_agent', `There is no agent ${JSON.stringify(name)}.`, {
      hint: `Known: ${[...agents.keys()].join(', ')}.`,
    });
  }

  async function viewOf(entry: AgentEntry): Promise<AgentView> {
    const { name, description, licence = null, dialects = null, models = null, npm } = entry;
    const common = {
      name,
      description,
      licence,
      dialects,
      helper_models: models,
      package: npm === undefined ? null : `${npm.package}@${npm.version}`,
      message: null,
      hint: null,
    };
    if (config.runtime === 'kubernetes') return { ...common, state: 'ready', from: 'image', version: null };
    const found = locateAgent(config, entry);
    const there =
      found.kind === 'found'
        ? { from: fromOf(entry, found), version: await versionOf(entry, found) }
        : { from: null, version: found.versions.at(-1) ?? null };
    if (running.has(name)) return { ...common, ...there, state: 'installing' };
    const failure = failures.get(name);
    if (failure !== undefined) {
      const { message, hint = null } = failure;
      return { ...common, ...there, state: 'failed', message, hint };
    }
    if (found.kind === 'found') return { ...common, ...there, state: 'ready' };
    return { ...common, ...there, state: found.kind, message: found.message, hint: howToGet(entry, found) };
  }

  function fromOf({ name, npm }: AgentEntry, { from, command }: FoundAgent): AgentView['from'] {
    if (from !== 'entry') return from;
    return name === 'builtin' && npm === undefined && command.includes('{builtin}') ? 'builtin' : 'configuration';
  }

  async function versionOf(entry: AgentEntry, found: FoundAgent): Promise<string | null> {
    if (found.version !== null) return found.version;
    if (fromOf(entry, found) === 'builtin') return context.version;
    const [program, ...args] = entry.version ?? [];
    if (program === undefined) return null;
    const file = findProgram(program, config.env['PATH']);
    // Asked once of each file: it may take seconds.
    const key = file === null ? program : `${file} ${statSync(file).mtimeMs}`;
    const asked = versions.get(key) ?? ask([program, ...args], found.readPaths);
    versions.set(key, asked);
    return asked;
  }

  async function ask(command: readonly [string, ...string[]], readPaths: readonly string[]): Promise<string | null> {
    const options = { ...kept(), readPaths, timeoutMs: VERSION_MS };
    const ended = await runOnce(command, options).catch(() => null);
    return ended?.code === 0 ? (/\d+\.\d+\.\d+[\w.-]*/.exec(ended.said)?.[0] ?? null) : null;
  }

  /** How a program that is somebody else's is run here. */
  function kept() {
    return { sandbox: sandboxOf(context, 0), env: config.env, node: process.execPath, signal: stop.signal };
  }

  return {
    list: () => Promise.all([...agents.values()].map(viewOf)),
    view: async (name) => viewOf(entryOf(name)),
    install: async (name, { force }) => {
      const entry = entryOf(name);
      const { npm } = entry;
      if (config.runtime === 'kubernetes')
        throw new AppError('invalid_request', 'Attempts run in pods here: the agents are in their image.', {
          hint: 'docs/agents.md has the recipe for an image.',
        });
      if (npm === undefined)
        throw new AppError('invalid_request', `There is nothing to install for ${name}.`, {
          hint: 'It is part of AIdeator, or its entry in the configuration names its command and no npm package.',
        });
      const places = agentPlaces(config);
      const found = findAgent(entry, places);
      if (found.kind === 'unsupported' && found.versions.length === 0)
        throw new AppError('agent_missing', found.message, { hint: howToGet(entry, found) });
      const isThere = found.kind === 'found' && found.from === 'installed';
      if (running.has(name) || (isThere && !force)) return viewOf(entry);
      failures.delete(name);
      const started = Date.now();
      const { log } = telemetry;
      log.info({ agent: name, package: npm.package, version: npm.version }, 'installing an agent');
      const installing = installAgent({
        entry: { ...entry, npm },
        places,
        ...kept(),
      })
        .then(
          () => log.info({ agent: name, seconds: (Date.now() - started) / 1000 }, 'an agent was installed'),
          (error: unknown) => {
            failures.set(name, toAppError(error));
            log.warn({ err: error, agent: name }, 'an agent was not installed');
          },
        )
        .finally(() => running.delete(name));
      running.set(name, installing);
      return viewOf(entry);
    },
    close: async () => {
      stop.abort();
      await Promise.all(running.values());
    },
  };
}
