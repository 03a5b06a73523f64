import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Config, loadConfig } from '../../config.ts';
import type { Event, Run } from '../../contract/api.ts';
import type { Dialect } from '../../contract/dialect.ts';
import { Client } from '../client.ts';
import { makeRepository } from '../demo/sample-repository.ts';
import type { Io } from '../io.ts';
import { observe, type Observation } from './observation.ts';

/** A real run of an agent against the scripted model: it writes a file, and is cancelled while it thinks. */
export interface CheckedAgent {
  isolation: string;
  run: Run;
  write: Observation;
  /** The patch of what it wrote; null where it left none. */
  patch: string | null;
  cancel: Observation;
}

export interface CheckOptions {
  agent: string;
  /** The user's own configuration: where agents are, which there are beside the known ones, and what keeps them in. */
  config: Pick<Config, 'agents' | 'agents_dir' | 'data_dir'> & Partial<Pick<Config, 'sandbox'>>;
  /** Else the first that the agent speaks. */
  dialect?: Dialect | undefined;
  signal: AbortSignal;
}

/** What the file holds that the agent is to write. */
export const CHECKED_FILE = { path: 'checked.txt', text: 'checked' } as const;
/** Seconds that each of the two may take. */
const TIMEOUT_SECONDS = 120;

/**
 * Runs an agent twice, in a server of its own with nothing of the user's but the agents. Errors: what keeps a server from starting
 * or a run from being submitted (agent_missing, unknown_agent …); the signal's reason.
 */
export async function checkAgent(
  io: Pick<Io, 'env' | 'startHouse' | 'version'>,
  options: CheckOptions,
): Promise<CheckedAgent> {
  const { agent, dialect, signal } = options;
  const folder = mkdtempSync(join(tmpdir(), 'aideator-check-'));
  try {
    const repository = join(folder, 'repository');
    mkdirSync(repository);
    await makeRepository(repository, { env: io.env, signal });
    const house = await io.startHouse(checkConfig(io, folder, options.config), { version: io.version });
    try {
      const client = new Client({ url: house.url });
      const variation = { agent, model: 'scripted/check', ...(dialect === undefined ? {} : { dialect }) };
      const { sandbox } = await client.info();
      const { run_id: runId, isolation } = await client.submit({
        // Whoever checks it starts it by its name, on nothing of theirs: where no sandbox works, the report says so.
        ...(sandbox.problem === null ? {} : { sandbox: false }),
        repository,
        prompt: 'This is a check of the agent, not a task.',
        variations: [
          { ...variation, strategy: 'write' },
          { ...variation, strategy: 'cancel' },
        ],
        max_parallel: 1,
        limits: { timeout_seconds: TIMEOUT_SECONDS },
      });
      const events = await follow(client, runId, signal);
      const run = await client.run(runId);
      const wrote = run.variations[0]?.status === 'succeeded';
      return {
        isolation,
        run,
        write: observe(events, 0),
        patch: wrote ? (await client.patch(runId, 0)).toString('utf8') : null,
        cancel: observe(events, 1),
      };
    } finally {
      await house.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** All events of the run; the second variation is cancelled as soon as it thinks. */
async function follow(client: Client, runId: string, signal: AbortSignal): Promise<Event[]> {
  const events: Event[] = [];
  let cancelled = false;
  const giveUp = (): void => void client.cancel(runId).catch(() => undefined);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    for await (const item of client.stream(runId)) {
      if (item.kind !== 'event') continue;
      events.push(item.event);
      if (cancelled || observe(events, 1).thoughts < 2) continue;
      cancelled = true;
      await client.cancel(runId, 1);
    }
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
  signal.throwIfAborted();
  return events;
}

/** Settings of the check's own server: a free port, no key, and the user's agents. */
function checkConfig({ env }: Pick<Io, 'env'>, folder: string, own: CheckOptions['config']): Config {
  const clean = Object.fromEntries(Object.entries(env).filter(([name]) => !/^AIDEATOR_|_(API_KEY|TOKEN)$/.test(name)));
  const script = join(folder, 'check.script.yaml');
  writeFileSync(script, readFileSync(join(import.meta.dirname, 'check.script.yaml')));
  return loadConfig({
    env: { ...clean, XDG_CONFIG_HOME: folder },
    cwd: folder,
    flags: {
      data_dir: join(folder, 'data'),
      agents_dir: own.agents_dir ?? join(own.data_dir, 'agents'),
      agents: own.agents,
      sandbox: own.sandbox,
      host: '127.0.0.1',
      port: 0,
      log_level: 'silent',
      default_model: 'scripted/check',
      providers: { scripted: { kind: 'scripted', script } },
      strategies: { write: { instruction: '[check: write]' }, cancel: { instruction: '[check: cancel]' } },
    },
  }).config;
}
