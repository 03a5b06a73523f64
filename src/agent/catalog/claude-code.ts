import type { AgentInput } from '../../contract/agent-entry.ts';

/**
 * Claude Code through its ACP adapter, which brings the Claude Agent SDK and with it the `claude` binary. Proprietary: installed on
 * the user's side, never part of an image of ours.
 */
export const claudeCode: AgentInput = {
  description: 'Claude Code (Anthropic), through claude-agent-acp.',
  command: ['claude-agent-acp'],
  env: {
    ANTHROPIC_BASE_URL: '{base_url}',
    ANTHROPIC_API_KEY: 'none-needed',
    ANTHROPIC_MODEL: '{model}',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    DISABLE_AUTOUPDATER: '1',
    // Calls of its own, for what nobody sees here.
    CLAUDE_CODE_ENABLE_PROMPT_SUGGESTION: 'false',
    CLAUDE_CODE_DISABLE_TERMINAL_TITLE: '1',
    CLAUDE_CODE_DISABLE_AUTO_MEMORY: '1',
    // Else a current model's thoughts are left out of its answers.
    CLAUDE_CODE_THINKING_DISPLAY: 'summarized',
    // Its default of ten means minutes; what is worth waiting for is waited for by the gateway.
    CLAUDE_CODE_MAX_RETRIES: '2',
    // It refuses to work without asking as root, unless it is told that something else keeps it in.
    IS_SANDBOX: '1',
  },
  files: {
    '.claude.json': '{"hasCompletedOnboarding":true}\n',
  },
  mode: 'bypassPermissions',
  // It asks small models for titles, and knows its own by several names.
  models: { 'claude-*': 'same' },
  dialects: ['anthropic'],
  npm: {
    package: '@agentclientprotocol/claude-agent-acp',
    version: '0.101.0',
    command: ['{node}', '{install}/node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js'],
    env: { CLAUDE_CODE_EXECUTABLE: '{install}/node_modules/@anthropic-ai/claude-agent-sdk-{platform}/claude' },
    probe: ['{install}/node_modules/@anthropic-ai/claude-agent-sdk-{platform}/claude', '--version'],
  },
  version: ['claude-agent-acp', '--version'],
  platforms: ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'],
  licence: 'Claude Code is proprietary (Anthropic’s commercial terms); the adapter is Apache-2.0',
};
