import type { AgentInput } from '../../contract/agent-entry.ts';

/** Gemini CLI: speaks ACP by itself. */
export const geminiCli: AgentInput = {
  description: 'Gemini CLI (Google).',
  command: ['gemini', '--acp', '--model', '{model}'],
  env: {
    GEMINI_API_KEY: 'none-needed',
    GOOGLE_GEMINI_BASE_URL: '{base_url}',
    GEMINI_CLI_TRUST_WORKSPACE: 'true',
  },
  files: {
    '.gemini/settings.json': `${JSON.stringify(
      {
        security: { auth: { selectedType: 'gemini-api-key' } },
        privacy: { usageStatisticsEnabled: false },
        telemetry: { enabled: false },
        general: { enableAutoUpdate: false, enableAutoUpdateNotification: false },
      },
      null,
      2,
    )}\n`,
  },
  mode: 'yolo',
  models: { 'gemini-*': 'same' },
  dialects: ['gemini'],
  npm: {
    package: '@google/gemini-cli',
    version: '0.61.0',
    command: ['{node}', '{install}/node_modules/@google/gemini-cli/bundle/gemini.js', '--acp', '--model', '{model}'],
    probe: ['{node}', '{install}/node_modules/@google/gemini-cli/bundle/gemini.js', '--version'],
  },
  version: ['gemini', '--version'],
  licence: 'Apache-2.0',
};
