import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Config } from '../config.ts';
import { problem } from '../contract/api-system.ts';
import { AppError, type ErrorCode, errorCodes } from '../errors.ts';
import { type Imprint, imprint } from './imprint.ts';
import type { Io } from './io.ts';
import { unreachable } from './refusals.ts';

/** What a running server says of itself in `<data_dir>/server.json`. */
const serverFile = z.object({ url: z.string(), pid: z.int(), version: z.string() }).loose();
export type ServerFile = z.infer<typeof serverFile>;

/** Milliseconds a server may take to answer after its start: a large journal is read to its end first. */
const START_WITHIN = 60_000;
const POLL = 50;
/** Seconds without a run and without a request after which a server that the CLI started ends by itself. */
const IDLE_SECONDS = 300;

type Place = Pick<Config, 'data_dir'> & { configFile: string | undefined };

/** The server of the data directory, if one answers. */
export async function runningServer(dataDir: string): Promise<ServerFile | null> {
  const file = readServerFile(dataDir);
  if (file === null || !isAlive(file.pid)) return null;
  // It lives but may be busy (starting, a large commit): one missed answer proves nothing.
  for (let tries = 0; tries < 3; tries++) {
    if (await answers(file.url)) return file;
    if (!isAlive(file.pid)) return null;
    await sleep(POLL * 4);
  }
  return null;
}

function readServerFile(dataDir: string): ServerFile | null {
  try {
    const parsed = serverFile.safeParse(JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // not there, or being written: whoever asks looks again
  }
}

/** Whether a server answers at a URL. */
export async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(3000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/**
 * The URL of the data directory's server; starts one in the background where none runs. It is a process of its own session, so
 * that neither Ctrl-C nor the end of this terminal ends a run. Errors: those of a server that could not start.
 */
export async function ensureServer(place: Place, io: Io): Promise<string> {
  const running = await runningServer(place.data_dir);
  if (running !== null) return running.url;
  const log = openLog(place.data_dir);
  const from = statSync(log.path).size;
  const [command = '', ...flags] = io.program;
  const config = place.configFile === undefined ? [] : ['--config', place.configFile];
  const args = [
    ...flags,
    'serve',
    '--json',
    '--host',
    '127.0.0.1',
    '--port',
    '0',
    '--exit-when-idle',
    String(IDLE_SECONDS),
    '--data-dir',
    place.data_dir,
    ...config,
  ];
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    cwd: io.cwd,
    env: { ...io.env },
  });
  closeSync(log.fd);
  let failed: Error | null = null;
  let ended = false;
  child.once('error', (error) => {
    failed = error;
    ended = true;
  });
  child.once('exit', () => {
    ended = true;
  });
  child.unref();
  const until = io.now() + START_WITHIN;
  // Of two that start one at the same time, the loser ends with data_dir_locked, and finds the winner's file a little later.
  let lookAfterEnd = 100;
  while (io.now() < until && (!ended || lookAfterEnd-- > 0)) {
    const found = await runningServer(place.data_dir);
    if (found !== null) return found.url;
    if (ended && !lostTheRace(log.path, from)) break;
    await sleep(POLL);
  }
  throw startFailure(log.path, from, failed, ended);
}

function openLog(dataDir: string): { path: string; fd: number } {
  const path = join(dataDir, 'server.log');
  try {
    makeFolders(dataDir);
    return { path, fd: openSync(path, 'a', 0o600) };
  } catch (error) {
    const full = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
    throw new AppError(
      full ? 'disk_full' : 'data_dir_readonly',
      `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}.`,
      {
        hint: full
          ? 'Free some space, or name another place with --data-dir or AIDEATOR_DATA_DIR.'
          : 'Name a folder you may write to with --data-dir or AIDEATOR_DATA_DIR.',
        cause: error,
      },
    );
  }
}

/** As `mkdir -p`. Node's own recursive mkdir never returns where the file system answers ENOENT to a mkdir (procfs does). */
function makeFolders(path: string): void {
  if (existsSync(path)) return;
  makeFolders(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!existsSync(path)) throw error; // else another CLI was faster
  }
}

/** What was written to the log since an offset: at most the last 8 KiB. */
function tailOf(path: string, from: number): string {
  const { size } = statSync(path);
  const start = Math.max(from, size - 8192);
  const buffer = Buffer.alloc(Math.max(0, size - start));
  const fd = openSync(path, 'r');
  try {
    return buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, start));
  } finally {
    closeSync(fd);
  }
}

/** The problem document that a server which could not start left as a line of its log. */
function problemIn(log: string): z.infer<typeof problem> | null {
  for (const line of log.split('\n').toReversed()) {
    if (!line.startsWith('{')) continue;
    try {
      const parsed = problem.safeParse(JSON.parse(line));
      if (parsed.success) return parsed.data;
    } catch {
      continue; // a line that is cut, or of another writer
    }
  }
  return null;
}

function lostTheRace(path: string, from: number): boolean {
  return problemIn(tailOf(path, from))?.code === 'data_dir_locked';
}

function startFailure(path: string, from: number, cause: Error | null, ended: boolean): AppError {
  const log = tailOf(path, from);
  const told = problemIn(log);
  if (told !== null && Object.hasOwn(errorCodes, told.code)) {
    return new AppError(told.code as ErrorCode, told.detail, {
      hint: told.hint ?? `The server's log is ${path}.`,
      details: { log: path },
    });
  }
  const last = log.trimEnd().split('\n').slice(-12).join('\n');
  const what = ended
    ? 'The server could not be started.'
    : `The server did not answer within ${START_WITHIN / 1000} s.`;
  return new AppError(
    'server_unreachable',
    [cause === null ? what : `${what} ${cause.message}.`, last].filter((part) => part !== '').join('\n'),
    {
      hint: `Its log is ${path}. \`aideator doctor\` looks for what is missing; \`aideator serve\` starts it in the foreground.`,
      cause: cause ?? undefined,
    },
  );
}

/** Ends the data directory's server and waits until it is gone. Attempts under way live on, and its successor takes them over. */
export async function stopServer(dataDir: string): Promise<void> {
  const file = readServerFile(dataDir);
  if (file === null || !isAlive(file.pid)) return;
  process.kill(file.pid, 'SIGTERM');
  for (let waited = 0; isAlive(file.pid); waited += POLL) {
    if (waited > 30_000) throw unreachable(file.url, new Error(`the server (process ${file.pid}) does not end`), true);
    await sleep(POLL);
  }
}

const backgroundFile = (dataDir: string): string => join(dataDir, 'background.json');

const background = z.object({ pid: z.int(), imprint });
export type BackgroundServer = z.infer<typeof background>;

/** Notes that this process is a server in the background: one that nobody minds to be replaced. Returns the way to take it back. */
export function markBackground(dataDir: string, made: Imprint): () => void {
  const self: BackgroundServer = { pid: process.pid, imprint: made };
  writeFileSync(backgroundFile(dataDir), `${JSON.stringify(self)}\n`);
  return () => rmSync(backgroundFile(dataDir), { force: true });
}

/** The data directory's server where it is one in the background; null where none is, or a person started it. */
export function backgroundServer(dataDir: string): BackgroundServer | null {
  const file = readServerFile(dataDir);
  if (file === null || !isAlive(file.pid)) return null;
  try {
    const noted = background.parse(JSON.parse(readFileSync(backgroundFile(dataDir), 'utf8')));
    return noted.pid === file.pid ? noted : null;
  } catch {
    return null; // started by a person
  }
}
