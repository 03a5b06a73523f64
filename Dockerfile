# Two images of one build: `--target api` (server and CLI) and `--target agent` (recorder, launcher and the built-in agent, in
# which attempts work). Built by `npm run images`; deploy/images/ has the recipe for one with a project's own tools.
ARG NODE_IMAGE=node:24-bookworm-slim

# What is compiled, and of it what each image needs. Nothing of this stage but /out is kept.
FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# No package has to run anything to be installed: what is used of them is JavaScript, and the compiler's own binary.
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json LICENSE ./
COPY scripts/build.mjs scripts/image-tree.mjs scripts/image-warm.mjs scripts/
COPY src src
ARG SOURCE_DATE_EPOCH=0
RUN node scripts/build.mjs \
    && node scripts/image-tree.mjs /out/api dist \
    && node scripts/image-tree.mjs /out/agent dist/agent dist/contract dist/git dist/redaction dist/errors.js

# Compiled modules are kept: Node then starts sooner. The cache is of one user, one path and one kind of processor: elsewhere it is not
# used, and nothing else happens. With a fixed seed the same sources make (nearly) the same bytes.
FROM ${NODE_IMAGE} AS api-app
COPY --from=build /out/api /app
COPY --from=build /src/scripts/image-warm.mjs /warm/
RUN ln -s /app/node_modules /warm/node_modules && install -d -o 1000 -g 1000 /app/cache
USER 1000:1000
ARG SOURCE_DATE_EPOCH=0
RUN NODE_COMPILE_CACHE=/app/cache node --random-seed=1 /warm/image-warm.mjs /app \
    && chmod -R a+rX /app/cache && find /app/cache -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

FROM ${NODE_IMAGE} AS agent-app
COPY --from=build /out/agent /app
COPY --from=build /src/scripts/image-warm.mjs /warm/
RUN ln -s /app/node_modules /warm/node_modules && install -d -o 1000 -g 1000 /app/cache
USER 1000:1000
ARG SOURCE_DATE_EPOCH=0
RUN NODE_COMPILE_CACHE=/app/cache node --random-seed=1 /warm/image-warm.mjs /app \
    && chmod -R a+rX /app/cache && find /app/cache -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

FROM ${NODE_IMAGE} AS api
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/cache/ldconfig/* /var/log/* /usr/share/doc/* /usr/share/man/*
# Owned by root, and not written to when it runs: the root file system may be read-only.
COPY --from=api-app --chown=0:0 /app /app
RUN ln -s /app/dist/main.js /usr/local/bin/aideator && install -d -o 1000 -g 1000 /data
ENV NODE_COMPILE_CACHE=/app/cache
USER 1000:1000
WORKDIR /data
EXPOSE 8000 8001
ENTRYPOINT ["tini", "--", "node", "/app/dist/main.js"]
CMD ["serve"]
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="aideator-api" \
      org.opencontainers.image.description="AIdeator: the server, and its command line" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

FROM ${NODE_IMAGE} AS agent
# Beside git: what a coding agent's shell commands expect to find. A project's own tools come on top of it (deploy/images).
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git patch procps ripgrep tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/cache/ldconfig/* /var/log/* /usr/share/doc/* /usr/share/man/*
COPY --from=agent-app --chown=0:0 /app /app
RUN install -d -o 1000 -g 1000 /workspace /home/agent
ENV NODE_COMPILE_CACHE=/app/cache
USER 1000:1000
WORKDIR /workspace
CMD ["echo", "This is AIdeator's image for attempts: recorder, launcher and built-in agent are in /app, and the server's Jobs say which of them runs."]
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="aideator-agent" \
      org.opencontainers.image.description="AIdeator: recorder, launcher and built-in agent, in which attempts work" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
