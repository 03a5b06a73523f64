import type { AgentInput } from '../../contract/agent-entry.ts';

/** Part of AIdeator: nothing has to be installed. */
export const builtin: AgentInput = {
  description: 'AIdeator’s own agent: bash, read, write, edit and search, with any model of either protocol.',
  command: ['{node}', '{builtin}'],
  env: {
    AIDEATOR_BASE_URL: '{base_url}',
    AIDEATOR_MODEL: '{model}',
    AIDEATOR_DIALECT: '{dialect}',
    AIDEATOR_MAX_STEPS: '{max_steps}',
  },
  dialects: ['anthropic', 'openai'],
  licence: 'Apache-2.0, part of AIdeator',
};
