import type { AgentInput } from '../../contract/agent-entry.ts';

/** Qwen Code: speaks ACP by itself, and three protocols with models. */
export const qwenCode: AgentInput = {
  description: 'Qwen Code (Alibaba).',
  command: ['qwen', '--acp', '--auth-type', '{dialect}'],
  env: {
    OPENAI_API_KEY: 'none-needed',
    OPENAI_BASE_URL: '{base_url}/v1',
    OPENAI_MODEL: '{model}',
    ANTHROPIC_API_KEY: 'none-needed',
    ANTHROPIC_BASE_URL: '{base_url}',
    ANTHROPIC_MODEL: '{model}',
  },
  files: {
    '.qwen/settings.json': `${JSON.stringify(
      {
        privacy: { usageStatisticsEnabled: false },
        telemetry: { enabled: false },
        general: { enableAutoUpdate: false },
        // Calls of its own after a turn, for what nobody sees here.
        ui: { enableFollowupSuggestions: false },
        memory: { enableManagedAutoMemory: false, enableManagedAutoDream: false },
      },
      null,
      2,
    )}\n`,
  },
  mode: 'yolo',
  dialects: ['openai', 'anthropic'],
  npm: {
    package: '@qwen-code/qwen-code',
    version: '0.24.4',
    command: [
      '{node}',
      '{install}/node_modules/@qwen-code/qwen-code/cli-entry.js',
      '--acp',
      '--auth-type',
      '{dialect}',
    ],
    probe: ['{node}', '{install}/node_modules/@qwen-code/qwen-code/cli-entry.js', '--version'],
  },
  version: ['qwen', '--version'],
  licence: 'Apache-2.0',
};
