import { appendFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import type { AttemptSpec, Eof } from '../../contract/attempt.ts';
import { now } from '../../contract/ids.ts';
import type { LastWord } from '../../contract/pod.ts';
import { createGit } from '../../git/command.ts';
import type { JournalOptions } from '../journal.ts';
import type { RecorderOptions } from '../recorder.ts';
import { createStopRequest } from '../stop-request.ts';
import { createClocks } from './clocks.ts';
import { createDelivery } from './delivery.ts';
import { claimAttempt, createDoorClient } from './door-client.ts';
import { fetchBase } from './fetch-base.ts';
import { findJournal } from './found-journal.ts';
import { openLauncherLink } from './launcher-link.ts';
import type { PodPaths } from './pod-paths.ts';
import { createPodPrompts } from './pod-prompts.ts';
import { createPrinter } from './printer.ts';
import { followServer } from './server-link.ts';
import { closeUnread, UnreadAttempt } from './unread.ts';

export interface PodRecorderOptions {
  doorUrl: string;
  token: string;
  attempt: string;
  podUid: string;
  holdSeconds: number;
  graceSeconds: number;
  paths: PodPaths;
  env: Record<string, string | undefined>;
  version: string;
  /** The pod's log. */
  stdout: Writable;
  /** Words for whoever looks at the pod, before there is a journal. */
  say(words: string): void;
  /** Aborted when the platform wants this container to end: the agent's has ended by then. */
  terminated: AbortSignal;
  crashed: AbortSignal;
  /** Times that a test makes shorter. */
  pace?: {
    graces?: RecorderOptions['graces'];
    claimMs?: number;
    lagMs?: number;
    silenceMs?: number;
    promptMs?: number;
    /** How long a launcher is waited for that should be there, or should be gone. */
    launcherMs?: number;
  };
}

/**
 * Runs a pod's attempt, or ends what a recorder before it has begun: claim, work, delivery, last word, dismissal. What goes wrong
 * with the attempt is in its journal.
 *
 * @returns the process's exit code: 0 whenever there is nothing left to do
 */
export async function runPodRecorder(options: PodRecorderOptions): Promise<number> {
  const { paths, attempt, terminated, pace = {} } = options;
  const launcherMs = pace.launcherMs ?? 15_000;
  const stop = createStopRequest(undefined);
  const clocks = createClocks({ holdMs: options.holdSeconds * 1000, graceMs: options.graceSeconds * 1000 });
  const log = (words: string): void => {
    try {
      appendFileSync(paths.recorderLog, `${now()} ${words}\n`, { mode: 0o600 });
    } catch {
      // Nobody is there to be told.
    }
  };
  const terminate = (): void => {
    clocks.terminate();
    stop.ask('terminated', 'The platform ended the pod.');
  };
  const ended = whenAborted(terminated);
  ended.then(terminate, () => undefined);
  const link = await openLauncherLink({
    socket: paths.socket,
    onTerminating: terminate,
    onMemory: (count) => log(`The kernel killed ${count} processes of the agent for want of memory.`),
    containerEnded: ended,
    answerMs: launcherMs,
  });
  const door = createDoorClient({ url: options.doorUrl, token: options.token });

  /** There is nothing to run: the launcher goes, and the platform ends us. */
  async function standDown(reason: string): Promise<number> {
    await lastWord(paths, { lastSeq: 0, sha256: null, reason });
    await Promise.race([link.dismiss(1, 600_000), ended]);
    return 0;
  }

  await mkdir(paths.ownTmp, { recursive: true });
  const found = await findJournal(paths.journal, attempt);
  let spec: AttemptSpec | null = null;
  let unread: string | null = null;
  if (found?.eof == null) {
    try {
      const claim = await claimAttempt(
        door,
        { pod_uid: options.podUid },
        { patienceMs: pace.claimMs ?? 600_000, signal: clocks.terminating, say: options.say },
      );
      if ('refused' in claim) {
        options.say(`Nothing to do here: ${claim.refused}`);
        return await standDown('refused');
      }
      const repository = { ...claim.attempt.repository, source: paths.repository };
      spec = { ...claim.attempt, repository, door: { url: options.doorUrl, token: options.token } };
      if (spec.attempt_id !== attempt) throw new Error(`The door gave the attempt ${spec.attempt_id}, not ${attempt}.`);
    } catch (error) {
      if (!clocks.terminating.aborted) options.say(error instanceof Error ? error.message : String(error));
      if (!(error instanceof UnreadAttempt)) return standDown(clocks.terminating.aborted ? 'terminated' : 'unclaimed');
      unread = error.message;
    }
  }

  const delivery = createDelivery({
    door,
    journal: paths.journal,
    attempt,
    log,
    found: found ?? undefined,
    lagMs: pace.lagMs,
  });
  const prompts = createPodPrompts({ door, log, patienceMs: pace.promptMs });
  const following = new AbortController();
  followServer({
    door,
    onHave: delivery.heard,
    onStop: (reason) => stop.ask(reason, null),
    onPrompt: prompts.heard,
    onOpen: delivery.knock,
    log,
    signal: following.signal,
    silenceMs: pace.silenceMs,
  }).catch((error: unknown) => log(String(error)));
  door.over.addEventListener('abort', () => {
    log(`The attempt is over for the server: ${String(door.over.reason)}`);
    stop.ask('terminated', 'The server says that the attempt is over.');
  });

  const git = createGit({ env: { ...options.env, TMPDIR: paths.ownTmp } });
  const printer = createPrinter(options.stdout);
  let eof: Eof;
  if (found?.eof != null) {
    eof = found.eof;
  } else if (unread !== null) {
    const onWritten: JournalOptions['onWritten'] = (batch, seq, bytes) => {
      printer.print(batch);
      delivery.onWritten(seq, bytes);
    };
    const { onAppend } = delivery;
    const journal = { path: paths.journal, attempt, resume: found ?? undefined, onAppend, onWritten };
    eof = await closeUnread(journal, unread);
  } else if (spec === null) {
    throw new Error('unreachable: an attempt without its spec');
  } else {
    const { base } = spec.repository;
    const fetch = (signal: AbortSignal): Promise<void> =>
      fetchBase(git, { doorUrl: door.url, token: options.token, base, gitDir: paths.repository, signal, log });
    // Begun before the rest is loaded: both take a tenth of a second.
    const fetching = found === null ? fetch(stop.signal) : null;
    fetching?.catch(() => undefined);
    const { podPlace } = await import('./pod-place.ts');
    const place = podPlace({
      ...{ paths, link, door, delivery, prompts, log },
      fetch: (signal) => fetching ?? fetch(signal),
      printer,
      resume: found ?? undefined,
      patience: () => {
        clocks.hold();
        return AbortSignal.any([clocks.patch, door.over]);
      },
    });
    const { version, crashed } = options;
    if (found === null) {
      const { runRecorder } = await import('../recorder.ts');
      const env = { ...options.env, TMPDIR: paths.ownTmp };
      eof = await runRecorder({ spec, place, stop, env, version, crashed, graces: pace.graces });
    } else {
      const { closeLost } = await import('./restarted.ts');
      eof = await closeLost({ spec, place, link, git, found, ended, launcherMs, version });
    }
  }

  clocks.hold();
  await lastWord(paths, { lastSeq: eof.lastSeq, sha256: eof.sha256, reason: eof.reason });
  const drained = await delivery.drained(eof.lastSeq, clocks.end);
  log(
    `${drained ? 'The server has all' : `The server has ${delivery.have}`} of ${eof.lastSeq} lines; ` +
      `${delivery.uploaded.bytes} bytes were uploaded in ${delivery.uploaded.requests} requests.`,
  );
  following.abort();
  delivery.close();
  await Promise.race([link.dismiss(eof.reason === 'end_turn' ? 0 : 1, launcherMs), ended.then(() => wait(500))]);
  // A sidecar that ends before it is told to is started again.
  await Promise.race([ended, wait(launcherMs)]);
  door.close();
  return 0;
}

/** The pod's termination message. Where it cannot be written, the journal has said it all. */
async function lastWord(paths: PodPaths, word: LastWord): Promise<void> {
  await writeFile(paths.terminationLog, JSON.stringify(word)).catch(() => undefined);
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
