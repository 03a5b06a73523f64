import { knownAgents, type AgentEntry } from '../agent/catalog.ts';
import type { Config } from '../config.ts';

/** Agents by name: the known ones, and the configuration's own, which replace a known one of the same name. */
export function createAgents(config: Config): ReadonlyMap<string, AgentEntry> {
  const own = Object.entries(config.agents).map(([name, entry]): [string, AgentEntry] => [name, { name, ...entry }]);
  return new Map([...knownAgents.map((entry): [string, AgentEntry] => [entry.name, entry]), ...own]);
}
