import type { AgentInput } from '../../contract/agent-entry.ts';

/** Codex through its ACP adapter, which brings the `codex` binary. It speaks the Responses API and nothing else. */
export const codex: AgentInput = {
  description: 'Codex (OpenAI), through codex-acp.',
  command: ['codex-acp'],
  env: { OPENAI_API_KEY: 'none-needed', MODEL_PROVIDER: 'aideator', NO_BROWSER: '1' },
  files: {
    // Not under TMPDIR, where its shell tool would fail and say nothing of it.
    '.codex/config.toml': `model = "{model}"
model_provider = "aideator"
model_reasoning_summary = "auto"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[features]
plugins = false
apps = false

[model_providers.aideator]
name = "AIdeator"
base_url = "{base_url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 2
`,
  },
  // Its own sandbox within ours does not work: ours is what keeps it in.
  mode: 'agent-full-access',
  dialects: ['responses'],
  npm: {
    package: '@agentclientprotocol/codex-acp',
    version: '2.6.0',
    command: ['{node}', '{install}/node_modules/@agentclientprotocol/codex-acp/dist/index.js'],
    probe: ['{node}', '{install}/node_modules/@openai/codex/bin/codex.js', '--version'],
  },
  version: ['codex-acp', '--version'],
  platforms: ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'],
  licence: 'Apache-2.0',
};
