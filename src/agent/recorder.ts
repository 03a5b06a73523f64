import { rmSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AttemptSpec, Eof } from '../contract/attempt.ts';
import { toAppError } from '../errors.ts';
import { createGit, type Git } from '../git/command.ts';
import { takeSnapshot } from '../git/snapshot.ts';
import { makeWorkspace } from '../git/workspace.ts';
import { noteStragglers, runAgent, type AgentRunEnd, type Graces } from './agent-run.ts';
import { attemptPaths, type AttemptPaths } from './claim.ts';
import { shorten, type Ending } from './end-words.ts';
import { openJournal, type Journal } from './journal.ts';
import { startProxy } from './proxy.ts';
import { createStopRequest, type StopRequest } from './stop-request.ts';

export interface RecorderOptions {
  spec: AttemptSpec;
  /** The attempt's directory, claimed. */
  directory: string;
  /** What the recorder itself was given; only an allow-list of it reaches the agent. */
  env: Record<string, string | undefined>;
  /** The Node binary for agents that are JavaScript. */
  node: string;
  version: string;
  /** Aborted, with an EndReason, to stop the attempt. */
  signal?: AbortSignal | undefined;
  /** Aborted, with the error, when the recorder itself is broken. */
  crashed?: AbortSignal | undefined;
  graces?: Partial<Graces & { heartbeatMs: number }> | undefined;
}

/** Bytes kept back, so that a journal on a full disk can still say what happened. */
const RESERVE_BYTES = 256 * 1024;
/** The longest result that is written: what reads it puts together at most 64 MiB. */
const MAX_RESULT_BYTES = 48 * 1024 * 1024;

/**
 * Runs an attempt from its workspace to its last word, and writes down all of it. Whatever goes wrong with the agent is in the
 * Eof; rejects only where the journal itself cannot be written.
 */
export async function runRecorder(options: RecorderOptions): Promise<Eof> {
  const { spec, directory } = options;
  const started = performance.now();
  const paths = attemptPaths(directory);
  const stop = createStopRequest(options.signal);
  const since = (at: number | null): number | null => (at === null ? null : Math.round(at - started));
  const journal = await openJournal({
    path: paths.journal,
    attempt: spec.attempt_id,
    onTrouble: (error) => {
      stop.ask('disk_limit', `The journal cannot be written: ${error.message}`);
      rmSync(paths.reserve, { force: true });
    },
  });
  journal.note('recorder_started', 'The recorder runs.', { pid: process.pid, version: options.version });
  const heartbeat = setInterval(() => journal.heartbeat(), options.graces?.heartbeatMs ?? 15_000);
  const timeout = setTimeout(
    () => stop.ask('timeout', `The attempt took longer than ${spec.limits.timeout_seconds} s.`),
    spec.limits.timeout_seconds * 1000,
  );
  const timings: Eof['timings'] = { workspace_ms: null, first_message_ms: null, total_ms: 0 };

  async function work(): Promise<Ending> {
    // Loaded while git works: the agent is waited for soon.
    const loading = import('@agentclientprotocol/sdk').then(
      () => undefined,
      () => undefined,
    );
    const git = createGit({ env: options.env });
    const proxy = await startProxy({ door: spec.door });
    try {
      const failed = await setUp(git, spec, paths, stop);
      await loading;
      if (failed !== null) {
        journal.note(failed.reason, failed.message ?? 'Stopped before the agent was started.');
        return failed;
      }
      timings.workspace_ms = since(performance.now());
      const end: AgentRunEnd = await runAgent({
        spec,
        paths,
        env: options.env,
        node: options.node,
        version: options.version,
        baseUrl: proxy.baseUrl,
        journal,
        stop,
        graces: { cancelMs: 2000, terminateMs: 3000, leaveMs: 500, diskMs: 5000, ...options.graces },
      });
      timings.first_message_ms = since(end.firstMessageAt);
      clearTimeout(timeout);
      if (end.reason === 'disk_limit') await makeRoom(paths);
      return await takeResult(git, spec, paths, journal, end);
    } finally {
      await proxy.close();
    }
  }

  let ending: Ending;
  try {
    ending = await orCrash(work(), options.crashed);
  } catch (error) {
    const { message } = toAppError(error);
    journal.note('recorder_crashed', message, { stack: error instanceof Error ? (error.stack ?? null) : null });
    await noteStragglers(spec.attempt_id, journal);
    ending = { reason: 'lost', message: `The recorder itself failed: ${message}`, exit: null };
  } finally {
    clearInterval(heartbeat);
    clearTimeout(timeout);
  }
  timings.total_ms = Math.round(performance.now() - started);
  const message = ending.message === null ? null : shorten(ending.message);
  await rm(paths.reserve, { force: true });
  return journal.close({ reason: ending.reason, message, exit: ending.exit, timings });
}

/** Makes the workspace; null where that went well. */
async function setUp(git: Git, spec: AttemptSpec, paths: AttemptPaths, stop: StopRequest): Promise<Ending | null> {
  const { source, base } = spec.repository;
  try {
    await mkdir(paths.home, { mode: 0o700 });
    await mkdir(paths.tmp, { mode: 0o700 });
    await writeFile(paths.reserve, Buffer.alloc(RESERVE_BYTES, 1));
    const branch = `aideator/${spec.run_id}/${spec.variation_id}`;
    await makeWorkspace(git, { source, base, dir: paths.workspace, branch, signal: stop.signal });
  } catch (error) {
    if (stop.asked !== null) return { ...stop.asked, exit: null };
    return {
      reason: 'setup_failed',
      message: `The workspace could not be made: ${toAppError(error).message}`,
      exit: null,
    };
  }
  return stop.asked === null ? null : { ...stop.asked, exit: null };
}

/** Takes what the agent left, however it ended: cancelled work is work. */
async function takeResult(
  git: Git,
  spec: AttemptSpec,
  paths: AttemptPaths,
  journal: Journal,
  end: Ending,
): Promise<Ending> {
  const { source, base } = spec.repository;
  const { reason, message, exit } = end;
  try {
    const { result } = await takeSnapshot(git, {
      source,
      base,
      workTree: paths.workspace,
      gitDir: paths.snapshot,
      patchFile: paths.patch,
    });
    const data = JSON.stringify(result);
    if (data.length > MAX_RESULT_BYTES)
      throw new Error(`the list of its ${result.files.length} changed files is too long`);
    journal.append('result', data);
    if (reason === 'end_turn' && result.files.length === 0)
      return { reason: 'no_changes', message: 'The agent said it was done, and nothing was changed.', exit };
    return { reason, message, exit };
  } catch (error) {
    const why = `The result could not be taken: ${toAppError(error).message}`;
    journal.note('result_failed', why);
    return reason === 'end_turn' ? { reason: 'result_failed', message: why, exit } : { reason, message, exit };
  }
}

/** A full disk: what the agent kept for itself goes, its work stays. */
async function makeRoom(paths: AttemptPaths): Promise<void> {
  for (const folder of [paths.tmp, paths.home]) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names) await rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

function orCrash<T>(work: Promise<T>, crashed: AbortSignal | undefined): Promise<T> {
  if (crashed === undefined) return work;
  const { promise, reject } = Promise.withResolvers<never>();
  const fail = (): void => reject(crashed.reason instanceof Error ? crashed.reason : new Error(String(crashed.reason)));
  if (crashed.aborted) fail();
  else crashed.addEventListener('abort', fail, { once: true });
  return Promise.race([work, promise]).finally(() => crashed.removeEventListener('abort', fail));
}
