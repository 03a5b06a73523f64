import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { z } from 'zod';
import type { npmPackage } from '../../contract/agent-entry.ts';
import type { SandboxSpec } from '../../contract/sandbox.ts';
import { AppError } from '../../errors.ts';
import type { AgentEntry } from '../catalog.ts';
import { replaceWords } from '../child-env.ts';
import { startTimeOf } from '../process-identity.ts';
import { runProgram, type Ended } from '../run-program.ts';
import { runOnce } from '../sandbox/run-once.ts';
import { INSTALLATION_FILE, installFolder, type AgentPlaces } from './find-agent.ts';

export interface InstallOptions {
  entry: AgentEntry & { npm: z.infer<typeof npmPackage> };
  places: AgentPlaces;
  /** What npm may know of the environment is taken from it. */
  env: Readonly<Record<string, string | undefined>>;
  /** The Node binary that agents are run with. */
  node: string;
  /** What keeps a program in that came with the package, when it is tried. */
  sandbox: SandboxSpec;
  signal: AbortSignal;
}

/** How long npm, and the look at what it brought, may take (ms). */
const NPM_MS = 15 * 60_000;
const PROBE_MS = 60_000;

/**
 * Of the server's environment npm gets what says where packages come from and how to reach that; no key of a model is among it.
 */
const FOR_NPM =
  /^(PATH|HOME|LANG|LC_[A-Z]+|TMPDIR|XDG_CONFIG_HOME|XDG_CACHE_HOME|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|(npm_config_\w+)|(https?|no|all)_proxy)$/i;

/**
 * Installs an agent's package, in its one exact version and without running any script of it, into a folder that gets its name when
 * all of it is there. Installing what is there already does it again. Errors: tool_missing, agent_install_failed, disk_full,
 * data_dir_readonly.
 */
export async function installAgent(options: InstallOptions): Promise<void> {
  const { entry, places } = options;
  const { npm, name } = entry;
  const target = installFolder(places, name, npm.version);
  const parent = dirname(target);
  try {
    await mkdir(parent, { recursive: true, mode: 0o755 });
    await removeLeftovers(parent);
  } catch (error) {
    throw unwritable(parent, error);
  }
  // Whose it is stands in its name: another server may install the same into the same folder.
  const part = join(parent, `.part-${process.pid}-${startTimeOf(process.pid) ?? ''}-${randomBytes(4).toString('hex')}`);
  try {
    await mkdir(part);
    await writeFile(join(part, 'package.json'), `${JSON.stringify({ private: true })}\n`);
    await runNpm(options, part);
    await checkVersion(npm, part);
    await probe(options, part);
    const facts = { package: npm.package, version: npm.version, platform: places.platform };
    await writeFile(join(part, INSTALLATION_FILE), `${JSON.stringify(facts)}\n`);
    await replace(part, target);
  } catch (error) {
    throw error instanceof AppError ? error : unwritable(parent, error);
  } finally {
    await rm(part, { recursive: true, force: true });
  }
}

async function runNpm({ entry: { npm, name }, env, signal }: InstallOptions, folder: string): Promise<void> {
  const wanted = `${npm.package}@${npm.version}`;
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--save-exact', '--loglevel=error', wanted];
  const own = Object.fromEntries(Object.entries(env).filter(([key]) => FOR_NPM.test(key)));
  const ended = await runProgram('npm', args, { cwd: folder, env: own, signal, timeoutMs: NPM_MS }).catch(
    (error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
        throw new AppError('tool_missing', 'npm was not found on the server’s PATH.', {
          hint: 'Install Node.js (https://nodejs.org), which brings npm, and start the server where it is on PATH.',
          cause: error,
        });
      throw error;
    },
  );
  if (ended.code === 0) return;
  throw explainNpm(name, wanted, ended);
}

/** What npm said, and what to do about it. */
export function explainNpm(name: string, wanted: string, { code, said }: Ended): AppError {
  const failed = (message: string, hint: string): AppError => new AppError('agent_install_failed', message, { hint });
  const found = /code (E[A-Z0-9_]+)/.exec(said)?.[1] ?? '';
  const again = `Then: aideator agents install ${name}`;
  if (code === null) return failed(`npm was stopped before ${wanted} was installed.`, again);
  if (
    /^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ERR_SOCKET_TIMEOUT)$/.test(found)
  )
    return failed(
      `npm cannot reach its registry (${found}), so ${wanted} was not installed.`,
      `Look at the network, the proxy and \`npm config get registry\`. ${again}`,
    );
  if (found === 'E404' || found === 'ETARGET')
    return failed(`npm's registry has no ${wanted} (${found}).`, 'Look at `npm config get registry`.');
  if (found === 'EBADPLATFORM')
    return failed(`${wanted} is not made for this machine (${found}).`, 'Choose another agent.');
  if (found === 'ENOSPC' || found === 'EDQUOT')
    return new AppError('disk_full', `There is no space left to install ${wanted}.`, { hint: `Make room. ${again}` });
  const last = said
    .trim()
    .split('\n')
    .filter((line) => !line.includes('A complete log of this run'))
    .slice(-4)
    .join(' ');
  return failed(`npm ended with ${code} and did not install ${wanted}: ${last.slice(0, 600)}`, again);
}

/** npm may take another version than the one it was asked for, silently (`engines`, a registry's tags): what lies there says which. */
async function checkVersion(npm: z.infer<typeof npmPackage>, folder: string): Promise<void> {
  const text = await readFile(join(folder, 'node_modules', npm.package, 'package.json'), 'utf8').catch(() => '{}');
  const { version } = JSON.parse(text) as { version?: unknown };
  if (version === npm.version) return;
  throw new AppError(
    'agent_install_failed',
    `npm installed ${npm.package} in version ${JSON.stringify(version ?? null)}, not ${npm.version}.`,
    { hint: 'Look at `npm config get registry` and at an `overrides` or `before` in your .npmrc.' },
  );
}

/**
 * Whether the binary that came runs here: packages for other processors or another libc install well, too. It is run as attempts run
 * it; where no sandbox works, nobody looks.
 */
async function probe(
  { entry: { npm, name }, places, node, sandbox, env, signal }: InstallOptions,
  folder: string,
): Promise<void> {
  if (npm.probe === undefined) return;
  const words = { install: folder, platform: places.platform, node };
  const [program = '', ...args] = npm.probe.map((word) => replaceWords(word, words));
  const how = { sandbox, readPaths: [folder], env, node, signal, timeoutMs: PROBE_MS };
  const ended = await runOnce([program, ...args], how).catch((error: unknown): Ended => {
    return { code: 127, said: error instanceof Error ? error.message : String(error) };
  });
  if (ended === null) return;
  if (ended.code === 0) return;
  throw new AppError(
    'agent_install_failed',
    `${name} was installed but does not run on this machine (${places.platform}): ${ended.said.trim().slice(-400)}`,
    { hint: 'Its package has no binary for this processor or this C library.' },
  );
}

/** The new folder in the old one's place. What was there, whole or half, is put aside first: a rename is all or nothing. */
async function replace(part: string, target: string): Promise<void> {
  const old = `${part}-old`;
  await rename(target, old).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  });
  await rename(part, target);
  await rm(old, { recursive: true, force: true });
}

/** What installations that died left. */
async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const [, pid, started] = /^\.part-(\d+)-(.*?)-[0-9a-f]{8}(-old)?$/.exec(basename(name)) ?? [];
    if (pid === undefined || startTimeOf(Number(pid)) === started) continue;
    await rm(join(parent, name), { recursive: true, force: true });
  }
}

function unwritable(folder: string, error: unknown): AppError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const why = error instanceof Error ? error.message : String(error);
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new AppError('disk_full', `There is no space left in ${folder}.`, { hint: 'Make room.', cause: error })
    : new AppError('data_dir_readonly', `${folder} cannot be written: ${why}.`, {
        hint: 'Give it to the user who runs the server, or name another folder (`agents_dir`).',
        cause: error,
      });
}
