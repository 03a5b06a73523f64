# A recipe: an image for attempts with agents that others made, on top of AIdeator's agent image (docs/agents.md).
#
#   docker build -f deploy/images/agents.Dockerfile --build-arg AGENT_IMAGE=<registry>/aideator-agent:<tag> \
#     -t <registry>/my-agents:1 deploy/images && docker push <registry>/my-agents:1
#
# Then make it the image of every attempt (chart: `agents.image`), or allow it (`agents.allowedImages`) and name it (`aideator run --image`).
# The versions are those of `aideator agents list`: leave out what you do not use (`--build-arg AGENTS=…`), each takes 100 to 460 MB.
ARG AGENT_IMAGE=aideator-agent
FROM ${AGENT_IMAGE}

ARG AGENTS="@agentclientprotocol/codex-acp@2.6.0 opencode-ai@1.18.33 @google/gemini-cli@0.61.0 @qwen-code/qwen-code@0.24.4"
USER 0:0

# No package's script is run. OpenCode's wrapper would need one: its binary needs no wrapper.
RUN npm install --global --ignore-scripts --no-audit --no-fund $AGENTS \
    && opencode=$(find "$(npm root --global)" -maxdepth 5 -path '*/opencode-linux-*/bin/opencode' \
         -not -path '*-musl/*' -not -path '*-baseline/*' | head -n 1) \
    && if [ -n "$opencode" ]; then ln -sf "$opencode" /usr/local/bin/opencode; fi \
    && npm cache clean --force

# Claude Code is proprietary, and no part of any image that AIdeator hands out. Who has agreed to Anthropic's terms may add it to an
# image of their own, and must not hand that on.
# RUN npm install --global --ignore-scripts --no-audit --no-fund @agentclientprotocol/claude-agent-acp@0.101.0 && npm cache clean --force

USER 1000:1000
