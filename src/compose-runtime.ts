import { extname, join } from 'node:path';
import { inheritedEnvironment } from './agent/child-env.ts';
import type { Config } from './config.ts';
import { AppError } from './errors.ts';
import type { Git } from './git/command.ts';
import type { Keys } from './http/keys.ts';
import { createLauncher } from './runtime/local/launcher.ts';
import { createLocalRuntime } from './runtime/local/local.ts';
import type { Pods } from './runtime/pods.ts';
import type { Runtime, RuntimeEvents } from './runtime/runtime.ts';
import type { Store } from './store/store.ts';
import type { Telemetry } from './telemetry.ts';

/** The runtime that the configuration names, and what of the house depends on it. */
export interface MadeRuntime {
  runtime: Runtime;
  /** Of attempts in pods; null where attempts are processes of this machine. */
  pods: Pods | null;
  /** What a first start does once the keys are known. */
  firstStart(keys: Keys): Promise<void>;
}

export interface RuntimeDeps {
  config: Config;
  /** Where attempts' directories are. */
  attempts: string;
  git: Git;
  store: Store;
  events: RuntimeEvents;
  version: string;
  log: Telemetry['log'];
}

/** Errors: invalid_config, cluster_unreachable. */
export async function makeRuntime(deps: RuntimeDeps): Promise<MadeRuntime> {
  return deps.config.runtime === 'kubernetes' ? makeKubernetes(deps) : makeLocal(deps);
}

function makeLocal({ config, attempts, git, events }: RuntimeDeps): MadeRuntime {
  const runtime = createLocalRuntime({
    directory: attempts,
    git,
    launcher: createLauncher({
      recorder: join(import.meta.dirname, 'agent', `recorder-main${extname(import.meta.filename)}`),
      node: process.execPath,
      // Compiled modules of the recorder are kept: without them each attempt starts a fifth of a second later.
      env: { ...inheritedEnvironment(config.env), NODE_COMPILE_CACHE: join(config.data_dir, 'cache') },
    }),
    events,
  });
  return { runtime, pods: null, firstStart: () => Promise.resolve() };
}

/** Loaded only where it is wanted: a laptop knows nothing of clusters. */
async function makeKubernetes(deps: RuntimeDeps): Promise<MadeRuntime> {
  const { config, store, events, version, log } = deps;
  const { kubernetes: settings, door_url: doorUrl } = config;
  if (doorUrl === null) {
    throw new AppError('invalid_config', 'runtime kubernetes needs door_url: where pods reach the attempt door.', {
      hint: `Set it to the address of this server's port ${config.door_port} as pods see it, e.g. http://aideator-attempts.aideator.svc:8001`,
    });
  }
  const [{ connect }, { createKubernetesRuntime }, { createPods }, { preflight, probe }] = await Promise.all([
    import('./runtime/kubernetes/connect.ts'),
    import('./runtime/kubernetes/kubernetes.ts'),
    import('./runtime/kubernetes/pods.ts'),
    import('./runtime/kubernetes/preflight.ts'),
  ]);
  const { instance } = await store.db.selectFrom('house').select('instance').executeTakeFirstOrThrow();
  const { cluster, api, server, handOut } = await connect({
    settings,
    env: config.env,
    instance,
    onProblem: (message) => log.warn({ runtime: 'kubernetes' }, message),
  });
  const pods = createPods({ directory: deps.attempts });
  const looked = { api, cluster, settings, server, doorUrl, instance, version };
  const runtime = createKubernetesRuntime({
    cluster,
    pods,
    events,
    settings,
    doorUrl,
    instance,
    version,
    preflight: async ({ probe: isWanted }) => [
      ...(await preflight(looked)),
      ...(isWanted ? [await probe(looked)] : []),
    ],
  });
  return {
    runtime,
    pods,
    firstStart: async (keys) => {
      const name = settings.admin_key_secret;
      if (name === null || (await keys.count()) > 0) return;
      const created = await keys.create({ name: 'the first key', scope: 'admin' });
      try {
        await handOut(name, created.key);
        log.info({ secret: name }, 'the first API key, of scope admin, is in this Secret');
      } catch (error) {
        // Nobody will ever see it.
        await keys.revoke(created.id);
        throw error;
      }
    },
  };
}
