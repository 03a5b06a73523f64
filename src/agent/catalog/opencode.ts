import type { AgentInput } from '../../contract/agent-entry.ts';

const model = { '{model}': { name: '{model}', reasoning: true, tool_call: true } };
const key = 'none-needed';

/** A provider for each protocol; which one is used says the name of the model. */
const settings = {
  $schema: 'https://opencode.ai/config.json',
  model: '{dialect}/{model}',
  small_model: '{dialect}/{model}',
  autoupdate: false,
  share: 'disabled',
  permission: { '*': 'allow' },
  enabled_providers: ['{dialect}'],
  provider: {
    anthropic: { npm: '@ai-sdk/anthropic', options: { baseURL: '{base_url}/v1', apiKey: key }, models: model },
    openai: { npm: '@ai-sdk/openai-compatible', options: { baseURL: '{base_url}/v1', apiKey: key }, models: model },
    responses: { npm: '@ai-sdk/openai', options: { baseURL: '{base_url}/v1', apiKey: key }, models: model },
    gemini: { npm: '@ai-sdk/google', options: { baseURL: '{base_url}/v1beta', apiKey: key }, models: model },
  },
};

/** OpenCode: its binary speaks ACP by itself. */
export const opencode: AgentInput = {
  description: 'OpenCode.',
  command: ['opencode', 'acp', '--pure'],
  env: { OPENCODE_DISABLE_MODELS_FETCH: '1', OPENCODE_DISABLE_AUTOUPDATE: '1' },
  files: { '.config/opencode/opencode.json': `${JSON.stringify(settings, null, 2)}\n` },
  dialects: ['anthropic', 'openai', 'responses', 'gemini'],
  npm: {
    package: 'opencode-ai',
    version: '1.18.33',
    // Its wrapper needs an install script, which is not run; the binary needs no Node.
    command: ['{install}/node_modules/opencode-{platform}/bin/opencode', 'acp', '--pure'],
    probe: ['{install}/node_modules/opencode-{platform}/bin/opencode', '--version'],
  },
  version: ['opencode', '--version'],
  platforms: ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'],
  licence: 'MIT',
};
