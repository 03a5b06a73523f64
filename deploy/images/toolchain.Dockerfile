# A recipe: the image in which attempts work on YOUR project, with its tools on top of AIdeator's agent image.
#
#   docker build -f deploy/images/toolchain.Dockerfile --build-arg AGENT_IMAGE=<registry>/aideator-agent:<tag> \
#     -t <registry>/my-project-agent:1 . && docker push <registry>/my-project-agent:1
#
# Then either make it the image of every attempt (chart: `agents.image`), or allow it (chart: `agents.allowedImages`) and let a run
# ask for it (`"image"` in POST /runs). The recorder beside it always runs in AIdeator's own image.
#
# What has to stay as it is: /app, tini, node, perl (it starts the agent apart from its launcher), the user 1000 and that nothing but /workspace, /home/agent and /tmp is written to
# (the root file system is read-only when it runs). What a tool wants to write elsewhere goes to HOME or TMPDIR.
ARG AGENT_IMAGE=aideator-agent
FROM ${AGENT_IMAGE}

USER 0:0

# Python: the interpreter, virtual environments, and a compiler for packages that have parts in C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-pip build-essential \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

# Go, from its own image.
# COPY --from=golang:1.26-bookworm /usr/local/go /usr/local/go
# ENV PATH=/usr/local/go/bin:$PATH

# The project's dependencies, so that no attempt has to fetch them (attempts reach no network but the attempt door):
# COPY requirements.txt /opt/project/
# RUN python3 -m venv /opt/project/venv && /opt/project/venv/bin/pip install --no-cache-dir -r /opt/project/requirements.txt
# ENV PATH=/opt/project/venv/bin:$PATH

# Agents that others made: agents.Dockerfile, beside this file.

USER 1000:1000
