import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { delimiter, dirname } from 'node:path';
import { promisify } from 'node:util';
import type { Config } from '../../config.ts';
import type { Info } from '../../contract/api-system.ts';
import { toAppError } from '../../errors.ts';
import { pad, plainLine, widthOf, wrap } from '../display.ts';
import { answers, runningServer } from '../server.ts';
import type { Session } from '../session.ts';
import { agentsText } from './agents.ts';

type State = 'ok' | 'warn' | 'fail';

interface Check {
  name: string;
  state: State;
  text: string;
  /** What to do. */
  hint?: string | undefined;
}

/** The oldest git whose options are used. */
const OLDEST_GIT = [2, 34] as const;
/** Bytes below which a run is likely to fill the disk. */
const LITTLE_SPACE = 1024 ** 3;

/**
 * `aideator doctor`: looks whether all that is needed is there. Exit code 5 where something fails. With `--kubernetes` it is the
 * server that looks, with its own rights, where it runs attempts.
 */
export async function doctor(
  session: Session,
  _args: string[],
  { kubernetes = false, probe = false }: { kubernetes?: boolean; probe?: boolean },
): Promise<number> {
  if (kubernetes || probe) return serverFindings(session, probe);
  const checks: Check[] = [{ name: 'node', state: 'ok', text: process.versions.node }, await checkGit(session)];
  let config: Config | null = null;
  try {
    config = session.config;
    checks.push({ name: 'configuration', state: 'ok', text: 'valid; `aideator config` prints it' });
  } catch (error) {
    checks.push(failed('configuration', error));
  }
  if (config !== null)
    checks.push(checkDataDir(config.data_dir), ...checkProviders(config), ...(await checkServer(session, config)));
  if (session.json) session.printJson({ checks });
  else session.print(...checks.flatMap((check) => lines(check, session)));
  return checks.some(({ state }) => state === 'fail') ? 5 : 0;
}

async function serverFindings(session: Session, probe: boolean): Promise<number> {
  const client = await session.connect();
  const { runtime } = await client.info();
  const { findings } = await client.doctor(probe);
  if (session.json) session.printJson({ findings });
  else {
    if (runtime !== 'kubernetes')
      session.remark(`${client.url} runs attempts as processes of its machine: there is no cluster to look at.`);
    const width = Math.max(13, ...findings.map(({ check }) => widthOf(plainLine(check))));
    session.print(
      ...findings.flatMap(({ check, ...rest }) => lines({ name: plainLine(check), ...rest }, session, width)),
    );
  }
  return findings.some(({ state }) => state === 'fail') ? 5 : 0;
}

function lines({ name, state, text, hint }: Check, { palette, columns }: Session, width = 13): string[] {
  const paint = state === 'ok' ? palette.good : state === 'warn' ? palette.warn : palette.bad;
  const indent = ' '.repeat(width + 8);
  const body = [text, ...(hint === undefined ? [] : [hint])]
    .flatMap((part) => part.split('\n'))
    .flatMap((part) => wrap(plainLine(part), Math.max(20, columns - indent.length)));
  return body.map((line, place) =>
    place === 0 ? `${paint(state.padEnd(4))}  ${pad(name, width)}  ${line}` : indent + line,
  );
}

function failed(name: string, thrown: unknown): Check {
  const error = toAppError(thrown);
  return { name, state: 'fail', text: error.message, hint: error.hint };
}

async function checkGit({ io }: Session): Promise<Check> {
  try {
    const { stdout } = await promisify(execFile)('git', ['--version'], { env: { ...io.env } });
    const [major = 0, minor = 0] = (/\d+\.\d+/.exec(stdout)?.[0] ?? '').split('.').map(Number);
    const old = major < OLDEST_GIT[0] || (major === OLDEST_GIT[0] && minor < OLDEST_GIT[1]);
    const text = stdout.trim().replace(/^git version /, '');
    return old
      ? {
          name: 'git',
          state: 'fail',
          text: `${text} is too old`,
          hint: `Install git ${OLDEST_GIT.join('.')} or newer.`,
        }
      : { name: 'git', state: 'ok', text };
  } catch {
    return { name: 'git', state: 'fail', text: 'not found', hint: 'Install git and see that it is on the PATH.' };
  }
}

function checkDataDir(path: string): Check {
  const name = 'data folder';
  let existing = path;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK | constants.X_OK);
  } catch {
    return {
      name,
      state: 'fail',
      text: `${path} cannot be written`,
      hint: 'Name another with --data-dir or AIDEATOR_DATA_DIR, or mend its owner.',
    };
  }
  const { bavail, bsize } = statfsSync(existing);
  const free = bavail * bsize;
  const text = `${path}${existing === path ? '' : ' (made at the first start)'}, ${(free / 1024 ** 3).toFixed(1)} GiB free`;
  return free < LITTLE_SPACE
    ? { name, state: 'warn', text, hint: 'Free some space: each attempt has a clone of its own.' }
    : { name, state: 'ok', text };
}

function checkProviders({ providers, keys }: Config): Check[] {
  const checks = Object.entries(providers).map(([name, provider]): Check & { usable: boolean } => {
    const { key, from } = keys[name] ?? { key: null, from: null };
    const needed = provider.kind !== 'scripted' && (provider.key_needed ?? true);
    if (key !== null) return { name, state: 'ok', text: `key present (${from ?? 'configuration'})`, usable: true };
    if (!needed) return { name, state: 'ok', text: 'needs no key', usable: true };
    return { name, state: 'ok', text: `no key${from === null ? '' : ` (${from} is not set)`}`, usable: false };
  });
  const none = checks.every(({ usable }) => !usable);
  return checks.map(({ usable: _usable, ...check }, place) =>
    none
      ? {
          ...check,
          state: 'warn' as const,
          // Once, under the last of them.
          ...(place < checks.length - 1
            ? {}
            : { hint: "Set one provider's key to run real models; `aideator demo` needs none." }),
        }
      : check,
  );
}

async function checkServer(session: Session, config: Config): Promise<Check[]> {
  try {
    const before = config.url === null ? await runningServer(config.data_dir) : null;
    const client = await session.connect();
    const info = await client.info();
    const how =
      config.url !== null
        ? 'answers'
        : before === null
          ? 'was started in the background for this'
          : `runs (process ${before.pid})`;
    const other =
      info.version === session.io.version
        ? {}
        : {
            state: 'warn' as const,
            hint: `It is of version ${info.version}, this program of ${session.io.version}: start it anew.`,
          };
    const checks: Check[] = [
      { name: 'server', state: 'ok', text: `${client.url} ${how}`, ...other },
      checkSandbox(info, config, session.io.env['PATH']),
      { name: 'agents', state: 'ok', text: agentsText(await client.agents()) },
      { name: 'strategies', state: 'ok', text: info.strategies.map(({ name }) => name).join(', ') },
    ];
    return config.url === null ? [...checks, await checkPort(config, client.url)] : checks;
  } catch (error) {
    return [failed('server', error)];
  }
}

/** What keeps agents in where a run says nothing of it; the server tried it when it was started. */
function checkSandbox(
  { isolation: text, sandbox: { kind, problem, hint } }: Info,
  config: Config,
  path: string | undefined,
): Check {
  const name = 'sandbox';
  if (problem !== null) return { name, state: 'fail', text: `${problem}\nRuns are refused.`, hint: hint ?? undefined };
  if (kind === 'none') {
    const trust = 'An agent can do here what you can: run it on repositories and prompts that you trust.';
    return { name, state: 'warn', text, hint: `${trust} The configuration switches the sandbox off (sandbox.mode).` };
  }
  // Nobody has seen it work.
  if (kind === 'sandbox-exec') return { name, state: 'warn', text };
  const unseen = kind === 'bubblewrap' && config.url === null ? unseenFolders(config, path ?? '') : [];
  return unseen.length === 0
    ? { name, state: 'ok', text }
    : {
        name,
        state: 'ok',
        text,
        hint: `On the PATH, but not in the sandbox: ${unseen.join(', ')}. Open what agents need with \`sandbox.read_paths\`.`,
      };
}

/** Folders of programs that agents do not have. */
function unseenFolders({ sandbox, env }: Config, path: string): string[] {
  const shown = [
    ...['/usr', '/bin', '/sbin', '/opt', '/nix/store'],
    ...sandbox.read_paths.map((each) => each.replace(/^~(?=\/)/, env['HOME'] ?? '~')),
  ];
  const isShown = (folder: string) => shown.some((each) => folder === each || folder.startsWith(`${each}/`));
  return [...new Set(path.split(delimiter))].filter(
    (folder) => folder.startsWith('/') && existsSync(folder) && !isShown(folder),
  );
}

/** Whether `aideator serve` could have its port. */
async function checkPort({ host, port }: Config, url: string): Promise<Check> {
  const wanted = `http://${host}:${port}`;
  if (url === wanted) return { name: 'port', state: 'ok', text: `${port} is this server's` };
  const taken = port !== 0 && (await isTaken(host, port));
  if (!taken) return { name: 'port', state: 'ok', text: `${port} is free for \`aideator serve\`` };
  const whose = (await answers(wanted)) ? 'another AIdeator' : 'another program';
  return {
    name: 'port',
    state: 'warn',
    text: `${port} is used by ${whose}`,
    hint: 'Serve elsewhere: aideator serve --port <port>, or AIDEATOR_PORT.',
  };
}

async function isTaken(host: string, port: number): Promise<boolean> {
  const { createServer } = await import('node:net');
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once('error', () => resolve(true));
    probe.listen(port, host, () => probe.close(() => resolve(false)));
  });
}
