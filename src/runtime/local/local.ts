import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { execa } from 'execa';
import { attemptPaths } from '../../agent/claim.ts';
import { removeGroup } from '../../agent/sandbox/cgroup.ts';
import { putPrompt } from '../../agent/prompts.ts';
import { killStragglers, signalGroup, startTimeOf } from '../../agent/process-identity.ts';
import type { AttemptSpec } from '../../contract/attempt.ts';
import { AppError, toAppError } from '../../errors.ts';
import { MAX_LINE_BYTES } from '../../contract/envelope.ts';
import type { EndReason } from '../../contract/run.ts';
import type { Git } from '../../git/command.ts';
import { takeSnapshot } from '../../git/snapshot.ts';
import type { AttemptEnd, Runtime, RuntimeEvents } from '../runtime.ts';
import { followJournal } from '../follower.ts';
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

/** How long a recorder may live behind its last word (ms). */
const LAST_WORD_MS = 5000;

/** Attempts as processes of this machine: a recorder each, detached, so that they outlive the server. */
export function createLocalRuntime(options: LocalRuntimeOptions): Runtime {
  const { events } = options;
  const stopping = new AbortController();
  const following = new Map<string, Promise<void>>();
  const processes = new Map<string, Process>();

  const directoryOf = (attemptId: string) => join(options.directory, attemptId);
  const isAlive = (process: Process) => startTimeOf(process.pid) === process.startTime;

  function follow(attemptId: string, process: Process, lastSeq: number): void {
    processes.set(attemptId, process);
    const followed = toTheEnd(attemptId, process, lastSeq)
      .then(async (end) => {
        processes.delete(attemptId);
        if (end !== null) await events.ended(attemptId, end);
      })
      .catch((error: unknown) => {
        if (!stopping.signal.aborted)
          events.transport(attemptId, `its end could not be written down: ${toAppError(error).message}`);
      })
      .finally(() => following.delete(attemptId));
    following.set(attemptId, followed);
  }

  /** How the attempt ended; null where we stopped following first. Never rejects. */
  async function toTheEnd(attemptId: string, process: Process, lastSeq: number): Promise<AttemptEnd | null> {
    let end: AttemptEnd | null;
    try {
      end = await followJournal({
        attemptId,
        journal: attemptPaths(directoryOf(attemptId)).journal,
        lastSeq,
        isAlive: () => isAlive(process),
        onBatch: (batch) => events.batch(attemptId, batch),
        onTransport: (message) => events.transport(attemptId, message),
        signal: stopping.signal,
      });
    } catch (error) {
      // The house closes, in whatever order: attempts run on, and the next server finds them.
      if (stopping.signal.aborted || (error instanceof AppError && error.code === 'shutting_down')) return null;
      const message = `Its journal could not be followed: ${toAppError(error).message}`;
      events.transport(attemptId, message);
      end = { kind: 'lost', message };
    }
    if (end === null) return null;
    // It is dead before its work is looked at: two at once would take two different results. After its last word it has
    // nothing left to do but to end.
    if (end.kind === 'lost' || !(await endsWithin(process, LAST_WORD_MS))) {
      signalGroup(process.pid, 'SIGKILL');
      await killStragglers(attemptId);
      // Its recorder would have removed it.
      await removeGroup(attemptId);
    }
    return end;
  }

  async function endsWithin(process: Process, ms: number): Promise<boolean> {
    for (const until = Date.now() + ms; isAlive(process); await wait(20)) if (Date.now() > until) return false;
    return true;
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

    adopt: async (ref, found) => {
      const { attemptId, lastSeq } = ref;
      const directory = directoryOf(attemptId);
      const known = ref.handle === null ? null : (JSON.parse(ref.handle) as Process);
      const process = known ?? (await claimedBy(directory)) ?? (await forestall(directory));
      if (process === null) {
        await found('not_started');
        const message = 'The server died before the attempt was started.';
        await events.ended(attemptId, { kind: 'not_started', reason: 'lost', message });
        return 'not_started';
      }
      const became = isAlive(process)
        ? 'running'
        : (await hasEof(attemptPaths(directory).journal))
          ? 'finished'
          : 'lost';
      await found(became);
      follow(attemptId, process, lastSeq);
      return became;
    },

    stop: async (attemptId, reason: EndReason) => {
      const process = processes.get(attemptId);
      if (process === undefined || !isAlive(process)) return;
      const { stop } = attemptPaths(directoryOf(attemptId));
      try {
        // A name of its own: two may ask at once.
        const part = `${stop}.${randomUUID()}`;
        await writeFile(part, JSON.stringify({ reason }), { mode: 0o600 });
        await rename(part, stop);
      } catch (error) {
        // A full disk: without the reason it is a plain cancel, and stops all the same.
        events.transport(attemptId, `the reason to stop could not be written: ${toAppError(error).message}`);
      }
      if (!(await isYetToClaim(directoryOf(attemptId)))) signal(process.pid, 'SIGTERM');
      setTimeout(() => {
        // The recorder itself hangs: without it nothing of the attempt may go on.
        if (processes.get(attemptId) === process && isAlive(process)) signalGroup(process.pid, 'SIGKILL');
      }, options.stopGraceMs ?? 120_000).unref();
    },

    prompt: async (attemptId, prompt) => {
      const process = processes.get(attemptId);
      if (process !== undefined && isAlive(process)) await putPrompt(directoryOf(attemptId), prompt);
    },

    patchFile: (attemptId) => attemptPaths(directoryOf(attemptId)).patch,

    rescue: async (attemptId, repository) => {
      const { workspace, snapshot, patch } = attemptPaths(directoryOf(attemptId));
      if (!existsSync(workspace)) return null;
      const work = { ...repository, workTree: workspace, gitDir: snapshot, patchFile: patch };
      return (await takeSnapshot(options.git, work)).result;
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

    preflight: () => Promise.resolve([]),

    close: async () => {
      options.launcher.close();
      stopping.abort();
      await Promise.all(following.values());
    },
  };
}

/**
 * Whether a recorder was started and has not claimed its attempt: it may not listen for signals yet and would die of one, but it
 * looks for `stop` once it has claimed. One whose directory was tampered with is past that.
 */
async function isYetToClaim(directory: string): Promise<boolean> {
  const { claim, journal, spec } = attemptPaths(directory);
  if (existsSync(claim) || !existsSync(spec)) return false;
  return (await stat(journal).catch(() => null))?.size === 0;
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
  const file = await open(journal, 'r').catch(() => null);
  if (file === null) return false;
  try {
    const { size } = await file.stat();
    const tail = Buffer.alloc(Math.min(size, MAX_LINE_BYTES));
    await file.read(tail, 0, tail.length, size - tail.length);
    return /"type":"eof","data":\{.*\}\}\n$/.test(tail.toString('utf8'));
  } finally {
    await file.close();
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is gone already.
  }
}
