import { existsSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { NO_SANDBOX, sandboxSpec, type SandboxSpec } from '../contract/sandbox.ts';
import type { Info } from '../contract/api-system.ts';
import { AppError } from '../errors.ts';
import type { RunningContext } from './context.ts';

/** What keeps the agents of this house in: asked for with a run, bounded by the configuration. */
type House = Pick<RunningContext, 'config' | 'sandbox' | 'runtime'>;

/**
 * Whether a run goes without a sandbox, as its row has it. Errors: sandbox_unavailable where none works and the request does not say that
 * it can do without, or where one is asked for and the configuration has switched it off; forbidden where it may not do without.
 *
 * @param asked the request's own word; undefined = as the configuration has it
 */
export async function withoutSandbox({ config, sandbox, runtime }: House, asked: boolean | undefined): Promise<0 | 1> {
  // The pod is the sandbox.
  if (runtime.name === 'kubernetes') return 0;
  const { mode } = config.sandbox;
  if (mode === 'off') {
    if (asked !== true) return 1;
    throw new AppError(
      'sandbox_unavailable',
      'A sandbox is asked for, and this server’s configuration switches it off.',
      {
        hint: 'Set `sandbox: { mode: auto }` in its configuration, or leave `sandbox` out.',
      },
    );
  }
  if (asked === false) {
    if (mode === 'auto') return 1;
    throw new AppError('forbidden', 'This server runs agents in a sandbox only.', {
      hint: 'Leave `--no-sandbox` (in the API `sandbox: false`) out.',
    });
  }
  await sandbox.again();
  const { found } = sandbox;
  if (found?.works === true) return 0;
  throw new AppError(
    'sandbox_unavailable',
    `No sandbox works here, so the run was not started: ${found?.reason ?? 'none was looked for.'}`,
    found === null ? {} : { hint: found.hint },
  );
}

/** What an attempt's recorder is told. Where no sandbox works any more, it is told of one without a program, and starts nothing. */
export function sandboxOf(house: House, isWithout: 0 | 1): SandboxSpec {
  const { config, sandbox, runtime } = house;
  if (runtime.name === 'kubernetes' || goesWithout(house, isWithout)) return NO_SANDBOX;
  const home = config.env['HOME'] ?? homedir();
  const { limits, read_paths: opened } = config.sandbox;
  const { found } = sandbox;
  return sandboxSpec.parse({
    kind: found?.works === true ? found.kind : 'bubblewrap',
    program: found?.works === true ? found.program : null,
    read_paths: opened.map((path) => (path.startsWith('~/') ? join(home, path.slice(2)) : path)),
    hidden: hiddenPaths(config.data_dir, home),
    limits,
  });
}

/**
 * What no attempt is to see where a folder around it is shown: the data directory, and a home that lies where the system's programs do.
 * Each as it is named and where it really lies: a link may lead into a folder that is shown.
 */
function hiddenPaths(dataDir: string, home: string): string[] {
  const spelt = (path: string): string[] => [...new Set([path, existsSync(path) ? realpathSync(path) : path])];
  return [...spelt(dataDir), ...spelt(home).filter((path) => /^\/(?:opt|usr)\//.test(path))];
}

/** What keeps an attempt apart, in words people are shown. */
export function isolationOf(house: House, isWithout: 0 | 1): string {
  const { found } = house.sandbox;
  const { isolation, name } = house.runtime;
  // Whatever lists there are beside mode and limits open something: none of them is left unsaid. In a pod, where no path is opened, the hosts.
  const { mode: _mode, limits: _limits, ...lists } = house.config.sandbox;
  if (name === 'kubernetes') return isolation + openedBy({ allow_hosts: lists.allow_hosts });
  if (goesWithout(house, isWithout)) return isolation;
  if (found?.works !== true) return `none: no sandbox works here (${found?.reason ?? 'none was looked for'})`;
  return found.words + openedBy(lists);
}

function openedBy(lists: Readonly<Record<string, readonly string[]>>): string {
  const opened = Object.entries(lists).filter(([, each]) => each.length > 0);
  return opened.map(([name, each]) => `; ${name} also opens ${each.join(', ')}`).join('');
}

/** The configuration's word is the last: it may have changed since the run was submitted. */
function goesWithout({ config }: Pick<House, 'config'>, isWithout: 0 | 1): boolean {
  const { mode } = config.sandbox;
  return mode === 'off' || (mode === 'auto' && isWithout === 1);
}

/** What holds for a run that says nothing of a sandbox. */
export async function sandboxInfo(house: House): Promise<Pick<Info, 'isolation' | 'sandbox'>> {
  const { config, sandbox, runtime } = house;
  if (runtime.name === 'kubernetes')
    return { isolation: isolationOf(house, 0), sandbox: { kind: 'pod', problem: null, hint: null } };
  await sandbox.again();
  const { found } = sandbox;
  const isWithout = config.sandbox.mode === 'off' ? 1 : 0;
  const isolation = isolationOf(house, isWithout);
  if (isWithout === 1) return { isolation, sandbox: { kind: 'none', problem: null, hint: null } };
  if (found?.works === true) return { isolation, sandbox: { kind: found.kind, problem: null, hint: null } };
  return {
    isolation,
    sandbox: { kind: 'none', problem: found?.reason ?? 'none was looked for', hint: found?.hint ?? null },
  };
}
