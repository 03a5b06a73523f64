import { rmSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import type { AttemptSpec, Eof } from '../contract/attempt.ts';
import { toAppError } from '../errors.ts';
import { createGit, type Git } from '../git/command.ts';
import { putEarlierWork } from '../git/earlier-work.ts';
import { makeWorkspace } from '../git/workspace.ts';
import { createFinder } from '../redaction/finder.ts';
import { printsOf } from '../redaction/prints.ts';
import { noteStragglers, runAgent, type AgentRunEnd, type Graces } from './agent-run.ts';
import { shorten, type Ending } from './end-words.ts';
import { openJournal } from './journal.ts';
import type { Place } from './place.ts';
import { startProxy } from './proxy.ts';
import { redacted } from './redaction/redacting-journal.ts';
import { makeRoom, noResult, takeResult } from './result.ts';
import { createStopRequest, type StopRequest } from './stop-request.ts';

export interface RecorderOptions {
  spec: AttemptSpec;
  place: Place;
  /** What the recorder itself was given: git draws from it. */
  env: Record<string, string | undefined>;
  version: string;
  /** Asks for the end. */
  stop?: StopRequest | undefined;
  /** Aborted, with an EndReason, to stop the attempt. */
  signal?: AbortSignal | undefined;
  /** Aborted, with the error, when the recorder itself is broken. */
  crashed?: AbortSignal | undefined;
  graces?: Partial<Graces & { heartbeatMs: number }> | undefined;
}

/** Bytes kept back, so that a journal on a full disk can still say what happened. */
const RESERVE_BYTES = 256 * 1024;
/** Until an agent that is asked to stop is signalled, and so on (ms). */
const GRACES: Graces = { cancelMs: 2000, terminateMs: 3000, leaveMs: 500, diskMs: 5000 };

/**
 * Runs an attempt from its workspace to its last word, and writes down all of it. Whatever goes wrong with the agent is in the
 * Eof; rejects only where the journal itself cannot be written.
 */
export async function runRecorder(options: RecorderOptions): Promise<Eof> {
  const { spec, place } = options;
  const { paths } = place;
  const started = performance.now();
  const stop = options.stop ?? createStopRequest(options.signal);
  const since = (at: number | null): number | null => (at === null ? null : Math.round(at - started));
  const { token } = spec.door;
  // Its own token is not in the prints: they are the same for all attempts.
  const finder = createFinder([spec.secrets, printsOf([{ value: token, what: 'attempt token' }])]);
  const opened = await openJournal({
    ...place.journal,
    path: paths.journal,
    attempt: spec.attempt_id,
    onTrouble: (error) => {
      stop.ask('disk_limit', `The journal cannot be written: ${error.message}`);
      rmSync(paths.reserve, { force: true });
    },
  });
  const journal = redacted(opened, finder);
  journal.note('recorder_started', 'The recorder runs.', { pid: process.pid, version: options.version });
  const heartbeat = setInterval(() => journal.heartbeat(), options.graces?.heartbeatMs ?? 15_000);
  let timeout: NodeJS.Timeout | undefined;
  let over = false;
  const timings: Eof['timings'] = { workspace_ms: null, first_message_ms: null, total_ms: 0 };

  /** The attempt's time begins when an agent could be started: a container may have to be waited for. */
  async function untilReady(): Promise<Ending | null> {
    try {
      await Promise.race([place.ready(), stop.wait]);
    } catch (error) {
      return { reason: 'agent_missing', message: toAppError(error).message, exit: null };
    }
    if (over) return null;
    timeout = setTimeout(
      () => stop.ask('timeout', `The attempt took longer than ${spec.limits.timeout_seconds} s.`),
      spec.limits.timeout_seconds * 1000,
    );
    return stop.asked === null ? null : { ...stop.asked, exit: null };
  }

  async function work(): Promise<Ending> {
    // Loaded while git works: the agent is waited for soon.
    const loading = import('@agentclientprotocol/sdk').then(
      () => undefined,
      () => undefined,
    );
    const git = createGit({ env: options.env });
    const ready = untilReady();
    const proxy = await startProxy({ door: spec.door, listen: place.listen });
    try {
      const { source, ...made } = await setUp(git, spec, place, stop);
      const failed = made.failed ?? (await ready);
      await loading;
      if (failed !== null) {
        journal.note(failed.reason, failed.message ?? 'Stopped before the agent was started.');
        return failed;
      }
      timings.workspace_ms = since(performance.now());
      const end: AgentRunEnd = await runAgent({
        spec,
        place,
        version: options.version,
        baseUrl: proxy.baseUrl,
        journal,
        stop,
        graces: { ...GRACES, ...options.graces },
      });
      timings.first_message_ms = since(end.firstMessageAt);
      clearTimeout(timeout);
      if (!end.gone) return noResult(journal, 'the agent may still be running, and nobody could be asked.', end);
      if (end.reason === 'disk_limit') await makeRoom(paths);
      return await takeResult({ git, place, repository: { ...spec.repository, source }, journal }, end);
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
    await noteStragglers(place, journal);
    ending = { reason: 'lost', message: `The recorder itself failed: ${message}`, exit: null };
  } finally {
    over = true;
    clearInterval(heartbeat);
    clearTimeout(timeout);
  }
  timings.total_ms = Math.round(performance.now() - started);
  const message = ending.message === null ? null : shorten(ending.message);
  await rm(paths.reserve, { force: true });
  return journal.close({ reason: ending.reason, message, exit: ending.exit, timings });
}

/** Makes the workspace. Where the base is, and how the attempt ended where it could not be made. */
async function setUp(
  git: Git,
  spec: AttemptSpec,
  place: Place,
  stop: StopRequest,
): Promise<{ source: string; failed: Ending | null }> {
  const { paths, linked } = place;
  let { source } = spec.repository;
  try {
    await place.prepare();
    await writeFile(paths.reserve, Buffer.alloc(RESERVE_BYTES, 1));
    source = await place.source(stop.signal);
    const branch = `aideator/${spec.run_id}/${spec.variation_id}`;
    const { base } = spec.repository;
    await makeWorkspace(git, { source, base, dir: paths.workspace, branch, linked, signal: stop.signal });
    if (spec.work !== null) {
      const patchFile = await place.earlierWork(spec.work, stop.signal);
      const { workspace: dir, snapshot: gitDir, patch: scratchFile } = paths;
      const { tree } = spec.work;
      await putEarlierWork(git, { source, base, dir, patchFile, tree, gitDir, scratchFile, signal: stop.signal });
    }
    return { source, failed: stop.asked === null ? null : { ...stop.asked, exit: null } };
  } catch (error) {
    if (stop.asked !== null) return { source, failed: { ...stop.asked, exit: null } };
    const message = `The workspace could not be made: ${toAppError(error).message}`;
    return { source, failed: { reason: 'setup_failed', message, exit: null } };
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
