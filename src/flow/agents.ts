import { homedir } from 'node:os';
import { join } from 'node:path';
import { knownAgents, type AgentEntry } from '../agent/catalog.ts';
import { findAgent, type AbsentAgent, type AgentPlaces, type FoundAgent } from '../agent/catalog/find-agent.ts';
import type { Config } from '../config.ts';
import { AppError } from '../errors.ts';

/** Agents by name: the known ones, and the configuration's own, which replace a known one of the same name. */
export function createAgents(config: Pick<Config, 'agents'>): ReadonlyMap<string, AgentEntry> {
  const own = Object.entries(config.agents).map(([name, entry]): [string, AgentEntry] => [name, { name, ...entry }]);
  return new Map([...knownAgents.map((entry): [string, AgentEntry] => [entry.name, entry]), ...own]);
}

/** Where agents are on the machine of this server. */
export function agentPlaces(config: Pick<Config, 'agents_dir' | 'data_dir' | 'env'>): AgentPlaces {
  return {
    folder: config.agents_dir ?? join(config.data_dir, 'agents'),
    platform: `${process.platform}-${process.arch}`,
    path: config.env['PATH'],
    home: config.env['HOME'] ?? homedir(),
  };
}

/** How an agent is started where this server runs attempts. In a cluster the image decides, and nobody can look before. */
export function locateAgent(config: Config, entry: AgentEntry): FoundAgent | AbsentAgent {
  if (config.runtime !== 'kubernetes') return findAgent(entry, agentPlaces(config));
  const { command, env } = entry;
  return { kind: 'found', from: 'entry', version: null, command: [...command], env: { ...env }, readPaths: [] };
}

/** Errors: agent_missing, saying how it is installed. */
export function checkAgentThere(config: Config, entry: AgentEntry): void {
  const found = locateAgent(config, entry);
  if (found.kind !== 'found') throw new AppError('agent_missing', found.message, { hint: howToGet(entry, found) });
}

/** What to do about an agent that is not there. */
export function howToGet({ name, npm }: AgentEntry, { kind }: AbsentAgent): string {
  if (kind === 'unsupported') return 'Choose another agent.';
  if (npm === undefined) return 'Install it, or mend its `command` in the configuration.';
  return `aideator agents install ${name} (${npm.package}@${npm.version} from npm)`;
}
