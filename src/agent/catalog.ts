import { agentEntry, type AgentInput, type AgentSettings } from '../contract/agent-entry.ts';
import { builtin } from './catalog/builtin.ts';
import { claudeCode } from './catalog/claude-code.ts';
import { codex } from './catalog/codex.ts';
import { geminiCli } from './catalog/gemini-cli.ts';
import { opencode } from './catalog/opencode.ts';
import { qwenCode } from './catalog/qwen-code.ts';

/** An agent that attempts can be run with, and its name. Configuration adds entries of the same shape (`agents:`). */
export interface AgentEntry extends AgentSettings {
  name: string;
}

const entries: Readonly<Record<string, AgentInput>> = {
  builtin,
  'claude-code': claudeCode,
  codex,
  opencode,
  'gemini-cli': geminiCli,
  'qwen-code': qwenCode,
};

/** The agents that need no configuration; all but the built-in one have to be installed. */
export const knownAgents: readonly AgentEntry[] = Object.entries(entries).map(([name, entry]) => ({
  name,
  ...agentEntry.parse(entry),
}));
