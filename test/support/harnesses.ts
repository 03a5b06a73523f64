import { existsSync } from 'node:fs';
import { findAgent, type AgentPlaces } from '../../src/agent/catalog/find-agent.ts';
import { knownAgents } from '../../src/agent/catalog.ts';

/** Where agents were installed that tests may run: a folder as `agents_dir` is one. */
const folder = process.env['AIDEATOR_TEST_AGENTS'];

/** The folder; where there is none, a name that nothing is found under. */
export const agentsDir = folder ?? '/nonexistent';

const places: AgentPlaces = { folder: agentsDir, platform: `${process.platform}-${process.arch}`, path: '' };

/** Names of the agents of the catalogue that are installed there. Of each that is not it is said: a test left out is to be seen. */
export function installedHarnesses(): string[] {
  if (folder === undefined || !existsSync(folder)) {
    process.stderr.write(
      'SKIPPED: AIDEATOR_TEST_AGENTS names no folder with installed agents, so no agent but our own is run.\n',
    );
    return [];
  }
  return knownAgents.flatMap((agent) => {
    if (agent.npm === undefined) return [];
    const found = findAgent(agent, places);
    if (found.kind === 'found') return [agent.name];
    process.stderr.write(`SKIPPED: ${found.message} (AIDEATOR_TEST_AGENTS=${folder})\n`);
    return [];
  });
}

/** One script for all of them: the first of the shells that an agent offers is called. */
export const mixedScript = `
models:
  any:
    conversations:
      - when: title generator
        turns: [{ text: A value }]
      - turns:
          - first_of:
              - thinking: I set the value with one command.
                tools:
                  - first_of:
                      - { name: exec_command, input: { cmd: echo set > value.txt } }
                      - { name: shell_command, input: { command: echo set > value.txt } }
                      - { name: run_shell_command, input: { command: echo set > value.txt, description: Set it, is_background: false } }
                      - { name: Bash, input: { command: echo set > value.txt, description: Set it } }
                      - { name: bash, input: { command: echo set > value.txt, description: Set it } }
              - text: A value
          - text: The value is set.
          - text: That is all.
`;
