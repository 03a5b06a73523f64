import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { attemptPaths } from '../../agent/claim.ts';
import { killStragglers, signalGroup, startTimeOf } from '../../agent/process-identity.ts';
import type { AttemptResult, AttemptSpec } from '../../contract/attempt.ts';
import type { EndReason } from '../../contract/run.ts';
import type { Git } from '../../git/command.ts';
import { takeSnapshot } from '../../git/snapshot.ts';
import type { AttemptRef, Runtime, RuntimeEvents } from '../runtime.ts';
import { followJournal } from './follower.ts';
import type { Launcher, Process } from './launcher.ts';

export interface LocalRuntimeOptions {
  /** Where attempts' directories are. */
  directory: string;
  git: Git;
  /** Starts recorders: with PATH and the locale, and nothing else of the server's environment. */
  launcher: Launcher;
  events: RuntimeEvents;
  /** How long a recorder may take to stop before it is killed itself (ms). */
  stopGraceMs?: number;
}

/** Attempts as processes of this machine: a recorder each, detached, so that they outlive the server. */
export function createLocalRuntime(options: LocalRuntimeOptions): Runtime {
  const { events } = options;
  const stopping = new AbortController();
  const following = new Map<string, Promise<void>>();
  const processes = new Map<string, Process>();

  const directoryOf = (attemptId: string) => join(options.directory, attemptId);
  const isAlive = (process: Process) => startTimeOf(process.pid) === process.startTime;

  function follow(attemptId: string, process: Process | null, lastSeq: number): void {
    if (process !== null) processes.set(attemptId, process);
    const followed = followJournal({
      attemptId,
      journal: attemptPaths(directoryOf(attemptId)).journal,
      lastSeq,
      isAlive: () => process !== null && isAlive(process),
      onBatch: (batch) => events.batch(attemptId, batch),
      onTransport: (message) => events.transport(attemptId, message),
      signal: stopping.signal,
    })
      .then(async (end) => {
        if (end === null) return;
        if (end.kind === 'lost') await killStragglers(attemptId);
        processes.delete(attemptId);
        await events.ended(attemptId, end);
      })
      .catch(async (error: unknown) => {
        if (stopping.signal.aborted) return;
        const message = error instanceof Error ? error.message : String(error);
        events.transport(attemptId, `following the journal failed: ${message}`);
        if (process !== null && isAlive(process)) signalGroup(process.pid, 'SIGTERM');
        await killStragglers(attemptId);
        processes.delete(attemptId);
        await events.ended(attemptId, { kind: 'lost', message: `Its journal could not be followed: ${message}` });
      })
      .catch((error: unknown) =>
        events.transport(
          attemptId,
          `its end could not be written down: ${error instanceof Error ? error.message : String(error)}`,
        ),
      )
      .finally(() => following.delete(attemptId));
    following.set(attemptId, followed);
  }

  return {
    name: 'local',
    isolation:
      'process: its own group, HOME and TMPDIR, but with the rights of the user who runs the server (no sandbox)',

    start: async (spec: AttemptSpec) => {
      const directory = directoryOf(spec.attempt_id);
      const layout = attemptPaths(directory);
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeFile(layout.spec, JSON.stringify(spec), { mode: 0o600 });
      await writeFile(layout.journal, '', { mode: 0o600, flag: 'a' });
      const process = await options.launcher.launch(directory);
      try {
        await events.started(spec.attempt_id, JSON.stringify(process));
      } catch (error) {
        signalGroup(process.pid, 'SIGKILL');
        throw error;
      }
      follow(spec.attempt_id, process, 0);
    },

    adopt: async (ref: AttemptRef) => {
      const directory = directoryOf(ref.attemptId);
      const known = ref.handle === null ? null : (JSON.parse(ref.handle) as Process);
      const process = known ?? (await claimedBy(directory)) ?? (await forestall(directory));
      if (process === null) {
        await events.ended(ref.attemptId, {
          kind: 'not_started',
          reason: 'lost',
          message: 'The server died before the attempt was started.',
        });
        return 'not_started';
      }
      if (isAlive(process)) {
        follow(ref.attemptId, process, ref.lastSeq);
        return 'running';
      }
      const finished = await hasEof(attemptPaths(directory).journal);
      follow(ref.attemptId, process, ref.lastSeq);
      return finished ? 'finished' : 'lost';
    },

    stop: async (attemptId, reason: EndReason) => {
      const process = processes.get(attemptId);
      if (process === undefined || !isAlive(process)) return;
      const { stop } = attemptPaths(directoryOf(attemptId));
      // A name of its own: two may ask at once.
      const part = `${stop}.${randomUUID()}`;
      await writeFile(part, JSON.stringify({ reason }), { mode: 0o600 });
      await rename(part, stop);
      // Before its claim it may not listen for signals yet and would die of one; it looks for `stop` once it has claimed.
      if ((await claimedBy(directoryOf(attemptId))) !== null) signal(process.pid, 'SIGTERM');
      setTimeout(() => {
        // The recorder itself hangs: without it nothing of the attempt may go on.
        if (processes.get(attemptId) === process && isAlive(process)) signalGroup(process.pid, 'SIGKILL');
      }, options.stopGraceMs ?? 120_000).unref();
    },

    patchFile: (attemptId) => attemptPaths(directoryOf(attemptId)).patch,

    rescue: async (attemptId, repository): Promise<AttemptResult | null> => {
      const layout = attemptPaths(directoryOf(attemptId));
      await rm(layout.snapshot, { recursive: true, force: true });
      try {
        const { result } = await takeSnapshot(options.git, {
          ...repository,
          workTree: layout.workspace,
          gitDir: layout.snapshot,
          patchFile: layout.patch,
        });
        return result;
      } catch (error) {
        events.transport(
          attemptId,
          `the work of a lost attempt could not be saved: ${error instanceof Error ? error.message : String(error)}`,
        );
        return null;
      }
    },

    remove: async (attemptId) => {
      const directory = directoryOf(attemptId);
      const claimant = await claimedBy(directory);
      if (claimant !== null && !following.has(attemptId) && isAlive(claimant)) {
        signalGroup(claimant.pid, 'SIGKILL');
        await killStragglers(attemptId);
      }
      try {
        await rm(directory, { recursive: true, force: true, maxRetries: 3 });
      } catch {
        // An agent may have taken our own rights from its folders.
        await execa('chmod', ['-R', 'u+rwX', '--', directory], { reject: false });
        await rm(directory, { recursive: true, force: true, maxRetries: 3 });
      }
    },

    orphans: async (known) => {
      const names = await readdir(options.directory).catch(() => []);
      return names.filter((name) => /^[0-9a-f-]{36}$/.test(name) && !known.has(name));
    },

    close: async () => {
      options.launcher.close();
      stopping.abort();
      await Promise.all(following.values());
    },
  };
}

/** Who took the attempt, as its claim says; null where nobody did. */
async function claimedBy(directory: string): Promise<Process | null> {
  try {
    const claim = JSON.parse(await readFile(attemptPaths(directory).claim, 'utf8')) as {
      pid: number;
      start_time: string;
    };
    return claim.pid > 0 ? { pid: claim.pid, startTime: claim.start_time } : null;
  } catch {
    return null;
  }
}

/**
 * Claims an attempt that nobody has claimed, so that a recorder that is only just starting finds it taken and exits. Null when
 * it is ours (or there is nothing to claim); else who was faster.
 */
async function forestall(directory: string): Promise<Process | null> {
  try {
    await writeFile(attemptPaths(directory).claim, JSON.stringify({ pid: 0, start_time: '' }), { flag: 'wx' });
    return null;
  } catch {
    return claimedBy(directory);
  }
}

/** Whether a journal's last line is its `eof`: the journal is read to the end by the follower, this only tells which end. */
async function hasEof(journal: string): Promise<boolean> {
  const text = await readFile(journal, 'utf8').catch(() => '');
  return /"type":"eof","data":\{.*\}\}\n$/.test(text.slice(-8192));
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is gone already.
  }
}
