import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { Readable } from 'node:stream';
import { AppError } from '../errors.ts';
import { gitEnvironment, safeConfig, personConfig } from './environment.ts';
import { maskSecrets } from './address.ts';

/** How one git command is to be run. */
export interface GitOptions {
  /** Where it runs; the room's own temporary ground where it does not matter. */
  cwd?: string | undefined;
  /** GIT_DIR: the repository, given instead of searched for. */
  gitDir?: string | undefined;
  /** GIT_WORK_TREE. */
  workTree?: string | undefined;
  /** GIT_INDEX_FILE. */
  indexFile?: string | undefined;
  /** Its standard input; none when left out. A stream is not destroyed where git does not read all of it; its failure ends the command. */
  input?: Uint8Array | string | Readable | undefined;
  /** Added to the environment. The only way for a GIT_* variable to reach a safe command. */
  env?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
  /** Milliseconds after which the whole process group is ended. Default: 10 minutes, so that nothing hangs for ever (a fifo in a hostile tree). */
  timeoutMs?: number | undefined;
  /** Most bytes of standard output that are kept. Default: 256 MiB. More is an error, never a cut. */
  maxBytes?: number | undefined;
  /** Takes standard output as a stream instead of it being kept; its rejection ends the command. */
  onStdout?: ((stdout: Readable) => Promise<void>) | undefined;
  /** Exit codes that are answers, not errors. Default: 0 only. */
  accept?: readonly number[] | 'any' | undefined;
  /**
   * Whose configuration holds. `none` (default): nobody's; no hook, no driver, no helper. `person`: that of the user who runs
   * the server, for talking to their own repository or remote; still no hook of ours to run and never a prompt.
   */
  user?: 'none' | 'person' | undefined;
}

export interface GitResult {
  stdout: Buffer;
  /** Its last 16 KiB. */
  stderr: string;
  code: number;
}

/** Runs one git command. Errors: tool_missing, disk_full, git_failed (`details.timed_out` where its time was up, `details.aborted`). */
export type Git = (args: readonly string[], options?: GitOptions) => Promise<GitResult>;

/** What was tried: 2.34 is the oldest that is still in use (Ubuntu 22.04). GIT_CONFIG_GLOBAL needs 2.32. */
const NEEDED: readonly [number, number] = [2, 34];
const STDERR_KEPT = 16 * 1024;
const GRACE_MS = 1_000;
const HELPER_MS = 2_000;

/** The git of this process. `env` is the environment git may draw from (PATH, HOME, agents' sockets); nothing else is read. */
export function createGit({ env }: { env: Record<string, string | undefined> }): Git {
  return async (args, options = {}) => {
    const user = options.user ?? 'none';
    const environment = gitEnvironment(env, user);
    if (options.gitDir !== undefined) environment['GIT_DIR'] = options.gitDir;
    if (options.workTree !== undefined) environment['GIT_WORK_TREE'] = options.workTree;
    if (options.indexFile !== undefined) environment['GIT_INDEX_FILE'] = options.indexFile;
    Object.assign(environment, options.env);
    return run([...(user === 'none' ? safeConfig : personConfig), ...args], args, environment, options);
  };
}

/** Checks that git is there and new enough; returns its version. Errors: tool_missing. */
export async function checkGit(git: Git): Promise<string> {
  const { stdout } = await git(['--version']);
  const text = stdout.toString().trim();
  const found = /(\d+)\.(\d+)(?:\.\d+)?/.exec(text);
  const [major, minor] = [Number(found?.[1]), Number(found?.[2])];
  if (!(major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]))) {
    throw new AppError('tool_missing', `git ${NEEDED.join('.')} or newer is needed; this is "${text}".`, {
      hint: INSTALL,
    });
  }
  return found?.[0] ?? text;
}

const INSTALL = `Install git ${NEEDED.join('.')} or newer (Debian, Ubuntu: apt install git; macOS: brew install git; others: https://git-scm.com/downloads) and see that it is on PATH.`;

async function run(
  argv: readonly string[],
  words: readonly string[],
  env: Record<string, string>,
  options: GitOptions,
): Promise<GitResult> {
  const name = `git ${words.find((word) => !word.startsWith('-')) ?? words[0] ?? ''}`.trim();
  if ([...argv, ...Object.values(env)].some((text) => text.includes('\0'))) {
    throw new AppError('git_failed', `${name}: an argument has a NUL byte in it.`);
  }
  options.signal?.throwIfAborted();
  // A group (and session) of its own: what git starts (ssh, upload-pack, helpers) ends with it, and none of them has a
  // terminal to ask for a password on.
  const child = spawn('git', argv, {
    cwd: options.cwd,
    env,
    detached: true,
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });

  let stopped: AppError | undefined;
  let lastResort: NodeJS.Timeout | undefined;
  const stop = (why: AppError): void => {
    if (stopped !== undefined) return;
    stopped = why;
    signalGroup(child, 'SIGTERM');
    lastResort = setTimeout(() => signalGroup(child, 'SIGKILL'), GRACE_MS);
  };
  const timeoutMs = options.timeoutMs ?? 600_000;
  const timer = setTimeout(
    () =>
      stop(
        new AppError('git_failed', `${name} was stopped: it was not done after ${timeoutMs / 1000} s.`, {
          details: { timed_out: true },
        }),
      ),
    timeoutMs,
  );
  const onAbort = (): void =>
    stop(
      new AppError('git_failed', `${name} was stopped on request.`, {
        cause: options.signal?.reason,
        details: { aborted: true },
      }),
    );
  options.signal?.addEventListener('abort', onAbort, { once: true });

  try {
    const stderr = collectTail(child.stderr, STDERR_KEPT);
    const stdout =
      options.onStdout === undefined || child.stdout === null
        ? collect(child.stdout, options.maxBytes ?? 256 * 1024 * 1024, () =>
            stop(
              new AppError('git_failed', `${name} printed more than ${options.maxBytes ?? 256 * 1024 * 1024} bytes.`),
            ),
          )
        : options.onStdout(child.stdout).then(
            () => Buffer.alloc(0),
            (error: unknown) => {
              stop(error instanceof AppError ? error : notTaken(name, error));
              return Buffer.alloc(0);
            },
          );
    // A command may end without reading all of its input: the broken pipe is no news, its exit code is.
    const stdin = child.stdin?.on('error', () => undefined);
    const { input } = options;
    if (input instanceof Readable) {
      input.on('error', (error) => stop(error instanceof AppError ? error : notTaken(name, error, 'input')));
      if (stdin != null) input.pipe(stdin);
    } else {
      stdin?.end(input);
    }
    const [code, out, err] = await Promise.all([ended(child, options.cwd), stdout, stderr]);
    if (stopped !== undefined) throw stopped;
    const result = { stdout: out, stderr: err, code };
    const accept = options.accept ?? [0];
    if (accept !== 'any' && !accept.includes(code)) throw gitFailed(name, result);
    return result;
  } finally {
    clearTimeout(timer);
    clearTimeout(lastResort);
    options.signal?.removeEventListener('abort', onAbort);
    // Whatever it started and left behind (a helper that ignored the end) is gone with it.
    if (stopped !== undefined) signalGroup(child, 'SIGKILL');
  }
}

/** What a full disk sounds like, from git and from Node. */
const DISK_FULL = /No space left on device|Disk quota exceeded|ENOSPC|EDQUOT/;

/** Whether a command failed because the disk is full. */
export function isDiskFull(said: string): boolean {
  return DISK_FULL.test(said);
}

/** The error of a command that failed (git_failed, disk_full): its name, its exit, the end of what it said, without secrets. */
export function gitFailed(name: string, result: { stderr: string; code: number }): AppError {
  const said = lastWords(result.stderr);
  const code = isDiskFull(result.stderr) ? 'disk_full' : 'git_failed';
  return new AppError(code, `${name} failed (exit ${result.code})${said === '' ? '.' : `: ${said}`}`, {
    details: { exit: result.code },
  });
}

function notTaken(name: string, error: unknown, what = 'output'): AppError {
  const code = isDiskFull(String(error)) ? 'disk_full' : 'git_failed';
  return new AppError(code, `${name}: its ${what} could not be taken (${String(error)}).`, { cause: error });
}

/** The end of what git said, in one piece and without secrets. */
export function lastWords(stderr: string): string {
  const lines = maskSecrets(stderr)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('hint:'));
  return lines.slice(-6).join(' | ').slice(-1500);
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // ESRCH: the group is gone already, which is what was wanted.
  }
}

function ended(child: ChildProcess, cwd: string | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT' && (cwd === undefined || existsSync(cwd));
      reject(
        missing
          ? new AppError('tool_missing', 'git was not found.', { hint: INSTALL, cause: error })
          : new AppError('git_failed', `git could not be started: ${error.message}`, { cause: error }),
      );
    });
    // A helper that git left running may hold stderr open for ever: the command is over all the same.
    child.once('exit', () => setTimeout(() => child.stderr?.destroy(), HELPER_MS).unref());
    // A process that died of a signal has no code; 128 + n is what a shell would say.
    child.once('close', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 143)));
  });
}

async function collect(stream: Readable | null, limit: number, tooMuch: () => void): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream ?? []) {
    size += (chunk as Buffer).length;
    if (size > limit) tooMuch();
    else chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

async function collectTail(stream: Readable | null, limit: number): Promise<string> {
  let tail = Buffer.alloc(0);
  try {
    for await (const chunk of stream ?? []) {
      tail = Buffer.concat([tail, chunk as Buffer]);
      if (tail.length > limit) tail = tail.subarray(tail.length - limit);
    }
  } catch {
    // Closed early, see `ended`: what was said until then is what there is.
  }
  return tail.toString();
}
