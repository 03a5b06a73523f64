import { accessSync, constants, existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { delimiter, dirname, isAbsolute, join, sep } from 'node:path';
import { z } from 'zod';
import type { AgentEntry } from '../catalog.ts';
import { replaceWords } from '../child-env.ts';

/** Where agents are looked for. */
export interface AgentPlaces {
  /** `<folder>/<name>/<version>` is where one was installed. */
  folder: string;
  /** `<system>-<processor>` in Node's words, e.g. linux-x64. */
  platform: string;
  /** PATH, as agents get it. */
  path: string | undefined;
  /** The user's home, which is never opened as a whole because a program lies in it. */
  home?: string | undefined;
}

/** How an agent is started here. */
export interface FoundAgent {
  kind: 'found';
  /** What it is: a command that its entry names, one that we installed, or a program on PATH. */
  from: 'entry' | 'installed' | 'path';
  /** The exact version, where it is known without asking the program. */
  version: string | null;
  command: string[];
  env: Record<string, string>;
  /** Absolute paths where it lies. */
  readPaths: string[];
}

/** Why an agent cannot be started here. */
export interface AbsentAgent {
  kind: 'missing' | 'other_version' | 'unsupported';
  /** In words, for people. */
  message: string;
  /** The versions that are installed. */
  versions: string[];
}

/** What an installation says of itself. It is written before the folder gets its name, so a folder of that name is whole. */
export const installation = z.object({ package: z.string(), version: z.string(), platform: z.string() });
export const INSTALLATION_FILE = 'installed.json';

/** Looks whether an agent can be started: what we installed comes first, then its program on PATH. */
export function findAgent(entry: AgentEntry, places: AgentPlaces): FoundAgent | AbsentAgent {
  const { npm, platforms } = entry;
  if (platforms !== undefined && !platforms.includes(places.platform)) {
    const message = `${entry.name} does not run on ${places.platform}: it is made for ${platforms.join(', ')}.`;
    return { kind: 'unsupported', message, versions: [] };
  }
  if (npm === undefined) {
    return {
      kind: 'found',
      from: 'entry',
      version: null,
      command: [...entry.command],
      env: { ...entry.env },
      readPaths: [...entry.read_paths, ...absolutePathsIn(entry.command)],
    };
  }
  const folder = installFolder(places, entry.name, npm.version);
  const installed = readInstallation(folder);
  if (installed !== null && installed.platform !== places.platform) {
    const message = `${entry.name} in ${folder} was installed for ${installed.platform}; this is ${places.platform}.`;
    return { kind: 'unsupported', message, versions: [npm.version] };
  }
  if (installed?.package === npm.package) {
    const words = { install: folder, platform: places.platform };
    return {
      kind: 'found',
      from: 'installed',
      version: npm.version,
      command: npm.command.map((word) => replaceWords(word, words)),
      env: { ...entry.env, ...replaceValues(npm.env, words) },
      readPaths: [...entry.read_paths, folder],
    };
  }
  const program = findProgram(entry.command[0] ?? '', places.path);
  if (program !== null) {
    return {
      kind: 'found',
      from: 'path',
      version: null,
      command: [program, ...entry.command.slice(1)],
      env: { ...entry.env },
      readPaths: [...entry.read_paths, ...pathsOf(program, places.home)],
    };
  }
  const versions = installedVersions(places, entry.name);
  if (versions.length > 0) {
    const message = `${entry.name} is installed in version ${versions.join(' and ')}; ${npm.version} is needed.`;
    return { kind: 'other_version', message, versions };
  }
  return { kind: 'missing', message: `${entry.name} is not installed.`, versions };
}

export function installFolder({ folder }: Pick<AgentPlaces, 'folder'>, name: string, version: string): string {
  return join(folder, name, version);
}

/** Null where there is none, or what there is does not say what it is. */
function readInstallation(folder: string): z.infer<typeof installation> | null {
  try {
    return installation.parse(JSON.parse(readFileSync(join(folder, INSTALLATION_FILE), 'utf8')));
  } catch {
    return null;
  }
}

function installedVersions({ folder }: AgentPlaces, name: string): string[] {
  const own = join(folder, name);
  if (!existsSync(own)) return [];
  return readdirSync(own)
    .filter((version) => readInstallation(join(own, version)) !== null)
    .toSorted();
}

/** A program's absolute path, as a shell would find it; null where there is none. */
export function findProgram(program: string, path: string | undefined): string | null {
  const candidates = program.includes('/')
    ? [program]
    : (path ?? '').split(delimiter).flatMap((folder) => (isAbsolute(folder) ? [join(folder, program)] : []));
  return candidates.find((file) => isAbsolute(file) && isExecutable(file)) ?? null;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** Where a program lies: its link's folder (the Node that it names may be there, too), and the packages that it is one of. */
function pathsOf(program: string, home: string | undefined): string[] {
  const real = realpathSync(program);
  const packages = `${sep}node_modules${sep}`;
  const at = real.indexOf(packages);
  const folder = at === -1 ? dirname(real) : real.slice(0, at + packages.length - 1);
  const homes = home === undefined ? [] : [home, existsSync(home) ? realpathSync(home) : home];
  // A program that lies in the home itself would open all that is there: keys, credentials.
  const narrowed = (path: string, itself: string): string =>
    homes.some((each) => each === path || each.startsWith(`${path}${sep}`)) ? itself : path;
  return [...new Set([narrowed(dirname(program), program), narrowed(folder, real)])].filter((path) => !isSystems(path));
}

function absolutePathsIn(command: readonly string[]): string[] {
  return command.filter((word) => isAbsolute(word) && !isSystems(word) && existsSync(word));
}

/** A sandbox shows these anyway, and `/` itself would be all there is. */
function isSystems(path: string): boolean {
  return path === sep || /^\/(usr|bin|sbin|lib|lib64)(\/|$)/.test(path);
}

function replaceValues(values: Readonly<Record<string, string>>, words: Record<string, string>) {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, replaceWords(value, words)]));
}
