import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeRuntime } from './compose-runtime.ts';
import { createAgentInstalls } from './flow/agent-installs.ts';
import { createAgents } from './flow/agents.ts';
import { doorSocket, openDoor } from './attempt-api/door.ts';
import { readKeyFile, type Config } from './config.ts';
import { parseAllowedHost } from './contract/allowed-host.ts';
import { AppError } from './errors.ts';
import { claimAttempt, nextPromptOf, repositoryOf, workOf } from './flow/claim.ts';
import { createBudgets } from './flow/budget/budgets.ts';
import { createCheckouts } from './flow/checkouts.ts';
import type { Context, LiveAttempt, RunningContext } from './flow/context.ts';
import { createFlow } from './flow/create.ts';
import { createEgressNotes } from './flow/egress.ts';
import type { Flow } from './flow/flow.ts';
import { resumeForgetting, sweepForgotten } from './flow/forget.ts';
import { recover, removeOrphans } from './flow/recover.ts';
import { createConductor, type Conductor } from './flow/run.ts';
import { sandboxInfo } from './flow/sandbox.ts';
import { trySandbox } from './flow/sandbox-trial.ts';
import { createSecrets } from './flow/secrets.ts';
import { createTokenBook } from './flow/tokens.ts';
import { bookCall } from './flow/usage.ts';
import { createGateway } from './gateway/create.ts';
import type { ProviderConfig } from './gateway/gateway.ts';
import { watchKeyFile } from './gateway/key-file.ts';
import { loadPrices } from './gateway/prices.ts';
import { loadScript } from './gateway/scripted/script.ts';
import { checkGit, createGit } from './git/command.ts';
import { openMirrors } from './git/mirror.ts';
import { buildApp } from './http/app.ts';
import { createKeys } from './http/keys.ts';
import { listen } from './http/server.ts';
import type { RuntimeEvents } from './runtime/runtime.ts';
import { openStore } from './store/database.ts';
import { lockDataDir } from './store/lock.ts';
import { createTelemetry, type Log } from './telemetry.ts';

/** The one place that knows all rooms: wires them, starts and stops them in order. */
export interface House {
  readonly url: string;
  readonly flow: Flow;
  /** Ends streams, stops following and closes the store. Attempts run on, and the next start finds them. Idempotent. */
  close(): Promise<void>;
}

export interface HouseOptions {
  version: string;
  /** Called once when nothing ran and nobody asked for anything for so many seconds. */
  idle?: { seconds: number; onIdle: () => void } | undefined;
}

/** How often runs that are to be forgotten and idleness are looked after (ms). */
const HOUSEKEEPING_MS = 1000;
/** How many of them pass between two looks for what nobody knows of in a cluster. */
const SWEEP_BEATS = 60;

/**
 * Starts everything. Errors: data_dir_readonly, data_dir_locked, disk_full, database_corrupt, database_newer, tool_missing,
 * invalid_config, port_in_use, exposed_without_key. What was opened before an error is closed again.
 */
export async function startHouse(config: Config, options: HouseOptions): Promise<House> {
  const closers: (() => Promise<void> | void)[] = [];
  let closing: Promise<void> | null = null;
  const close = () =>
    (closing ??= (async () => {
      for (const closer of closers.toReversed()) await closer();
    })());
  try {
    return await open();
  } catch (error) {
    await close();
    throw error;
  }

  async function open(): Promise<House> {
    const attempts = join(config.data_dir, 'attempts');
    makeDataDir(config.data_dir, attempts);
    closers.push(lockDataDir(config.data_dir));
    const secrets = createSecrets(config);
    const telemetry = createTelemetry({
      level: config.log_level,
      redact: (line) => `${secrets.json(line.trimEnd())}\n`,
    });
    const { log, metrics } = telemetry;
    const trying = trySandbox(config);
    const git = createGit({ env: config.env });
    await checkGit(git);
    const store = openStore(join(config.data_dir, 'aideator.sqlite'), {
      synchronous: config.synchronous,
      report: (error) => log.error({ err: error }, 'the store'),
    });
    closers.push(() => store.close());
    store.onCommit((committed) => {
      for (const { count } of committed) metrics.committed(count);
    });

    const providers = providersOf(config, log);
    secrets.follow(providers);
    const gateway = createGateway({
      providers,
      scripts: scriptsOf(config),
      prices: loadPrices(config.prices),
      proxyEnv: config.env,
      redact: secrets.text,
      onWaiting: (provider, change) => metrics.modelCallsWaiting({ provider, why: 'provider' }, change),
      log,
    });
    closers.push(() => gateway.close());
    const tokens = createTokenBook<LiveAttempt>();
    const mirrors = openMirrors(join(config.data_dir, 'mirrors'), git);
    const checkouts = createCheckouts(join(config.data_dir, 'checkouts'), git, mirrors);
    await checkouts.clear();
    const context: Context = {
      config,
      store,
      git,
      mirrors,
      checkouts,
      gateway,
      secrets,
      budgets: createBudgets({ store, config, telemetry }),
      providers,
      agents: createAgents(config),
      sandbox: await trying,
      tokens,
      telemetry,
      version: options.version,
    };
    // The runtime tells the conductor, and the conductor commands the runtime: one of the two is known late.
    let conductor: Conductor | null = null;
    const told = (): RuntimeEvents => {
      if (conductor === null) throw new AppError('internal', 'The runtime spoke before there was a conductor.');
      return conductor.events;
    };
    const { runtime, pods, firstStart } = await makeRuntime({
      config,
      attempts,
      git,
      store,
      version: options.version,
      log,
      events: {
        started: (...facts) => told().started(...facts),
        batch: (...facts) => told().batch(...facts),
        waiting: (...facts) => told().waiting(...facts),
        transport: (...facts) => told().transport(...facts),
        ended: (...facts) => told().ended(...facts),
      },
    });
    closers.push(() => runtime.close());
    const socket = doorSocket(config.data_dir);
    const running: RunningContext = { ...context, runtime, doorSocket: socket };
    conductor = createConductor(running);
    const { open: openForWork, active, close: closeConductor } = conductor;
    closers.push(closeConductor);
    const found = await recover(running, conductor);
    if (found > 0) log.info({ attempts: found }, 'took over from the last server');
    await resumeForgetting(running, conductor);

    const door = await openDoor({
      listen: pods === null ? { socket } : { host: config.door_host, port: config.door_port },
      tokens,
      gateway,
      log,
      book: (caller) => bookCall(context, caller),
      egress: { allowed: allowedHosts(config), tell: createEgressNotes(context) },
      house:
        pods === null
          ? undefined
          : {
              pods,
              git,
              claim: (caller, podUid) => claimAttempt(context, pods, caller, podUid),
              repository: (caller) => repositoryOf(context, caller),
              work: (caller, sha256) => workOf(context, caller, sha256),
              nextPrompt: (caller, after) => nextPromptOf(context, caller, after),
            },
    });
    closers.push(() => door.close());

    const installs = createAgentInstalls(running);
    closers.push(() => installs.close());
    const flow = createFlow(running, conductor, installs);
    metrics.states(() => flow.states());
    const { admin_key_file: adminKey } = config;
    const fileKey = adminKey === null ? null : readKeyFile('admin_key_file', adminKey);
    if (fileKey !== null) secrets.learn(fileKey, 'admin key of aideator');
    const keys = createKeys(store, fileKey);
    await firstStart(keys);
    let lastAsked = Date.now();
    const app = buildApp({
      flow,
      store,
      keys,
      telemetry,
      version: options.version,
      host: config.host,
      allowedHosts: config.allowed_hosts,
      onRequest: () => {
        lastAsked = Date.now();
      },
    });
    const server = await listen(app, { host: config.host, port: config.port, keys, log });
    closers.push(() => server.close());
    writeServerFile(config.data_dir, { url: server.url, pid: process.pid, version: options.version });
    closers.push(() => rmSync(join(config.data_dir, 'server.json'), { force: true }));
    log.info(
      { url: server.url, data_dir: config.data_dir, isolation: (await sandboxInfo(running)).isolation },
      'listening',
    );
    openForWork();

    let beats = 0;
    const housekeeping = setInterval(() => {
      sweepForgotten(running).catch((error: unknown) => log.error({ err: error }, 'forgetting runs failed'));
      // What a crash or a person left in the cluster: a Job without its run.
      if (runtime.name === 'kubernetes' && (beats += 1) % SWEEP_BEATS === 0) {
        removeOrphans(running).catch((error: unknown) => log.error({ err: error }, 'sweeping the cluster failed'));
      }
      if (active() > 0 || app.subscribers() > 0) lastAsked = Date.now();
      if (options.idle !== undefined && Date.now() - lastAsked > options.idle.seconds * 1000) {
        clearInterval(housekeeping);
        options.idle.onIdle();
      }
    }, HOUSEKEEPING_MS);
    housekeeping.unref();
    closers.push(() => clearInterval(housekeeping));
    return { url: server.url, flow, close };
  }
}

function makeDataDir(dataDir: string, attempts: string): void {
  try {
    makeFolders(attempts);
    // What cannot be written is better known now than at the first run.
    const probe = join(dataDir, `.probe-${process.pid}`);
    writeFileSync(probe, 'x');
    rmSync(probe);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new AppError('disk_full', `There is no space left for ${dataDir}.`, {
        hint: 'Make room, or use a folder on another disk (--data-dir).',
        cause: error,
      });
    }
    throw new AppError(
      'data_dir_readonly',
      `${dataDir} cannot be made or written: ${error instanceof Error ? error.message : String(error)}.`,
      {
        hint: 'Give it to this user, or use another folder (--data-dir or AIDEATOR_DATA_DIR).',
        cause: error,
      },
    );
  }
}

/** As `mkdir -p`. Node's own recursive mkdir never returns where the file system answers ENOENT to a mkdir (procfs does). */
function makeFolders(path: string): void {
  if (existsSync(path)) return;
  const parent = dirname(path);
  if (parent !== path) makeFolders(parent);
  mkdirSync(path, { mode: 0o700 });
}

function providersOf(config: Config, log: Log): Record<string, ProviderConfig> {
  return Object.fromEntries(
    Object.entries(config.providers).map(([name, entry]) => {
      const found = config.keys[name] ?? { key: null, from: null };
      const { file } = found;
      const key =
        file === undefined
          ? () => found.key
          : watchKeyFile(file, found.key, (error) =>
              log.warn({ err: error, provider: name }, 'the file of a key cannot be read; the key stays as it was'),
            );
      if (entry.kind !== 'scripted' && entry.base_url === undefined) {
        throw new AppError('invalid_config', `providers.${name} has no base_url.`, {
          hint: 'Add `base_url: http://…`; for kind openai with its /v1.',
        });
      }
      return [
        name,
        {
          kind: entry.kind,
          baseUrl: (entry.base_url ?? '').replace(/\/+$/, ''),
          get key() {
            return key();
          },
          keyFrom: found.from,
          keyNeeded: entry.key_needed ?? found.from !== null,
          headers: entry.headers,
        },
      ];
    }),
  );
}

function allowedHosts(config: Config) {
  // Wrong ones are no configuration: nothing is left out here.
  return config.sandbox.allow_hosts.map(parseAllowedHost).filter((entry) => typeof entry !== 'string');
}

function scriptsOf(config: Config) {
  return Object.fromEntries(
    Object.entries(config.providers).flatMap(([name, entry]) => {
      if (entry.kind !== 'scripted') return [];
      if (entry.script === undefined)
        throw new AppError('invalid_config', `providers.${name} is scripted but names no script.`, {
          hint: 'Add `script: <file>`.',
        });
      return [[name, loadScript(entry.script)]];
    }),
  );
}

/** Where this server is found by the CLI, and named by whoever finds the data directory locked. Never half-written. */
function writeServerFile(dataDir: string, facts: { url: string; pid: number; version: string }): void {
  const path = join(dataDir, 'server.json');
  writeFileSync(`${path}.part`, `${JSON.stringify(facts)}\n`);
  renameSync(`${path}.part`, path);
}
