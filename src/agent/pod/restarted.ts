import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import type { AttemptSpec, Eof } from '../../contract/attempt.ts';
import { toAppError } from '../../errors.ts';
import type { Git } from '../../git/command.ts';
import { shorten, type Ending } from '../end-words.ts';
import { createFinder } from '../../redaction/finder.ts';
import { printsOf } from '../../redaction/prints.ts';
import { openJournal, type Journal } from '../journal.ts';
import { redacted } from '../redaction/redacting-journal.ts';
import type { Place } from '../place.ts';
import { noResult, takeResult } from '../result.ts';
import type { FoundJournal } from './found-journal.ts';
import type { LauncherLink } from './launcher-link.ts';

export interface LostAttempt {
  spec: AttemptSpec;
  place: Place;
  link: LauncherLink;
  git: Git;
  found: FoundJournal;
  /** Resolves when the platform says that the agent's container has ended. */
  ended: Promise<unknown>;
  /** How long a launcher is waited for (ms). */
  launcherMs: number;
  version: string;
}

/**
 * Ends an attempt whose recorder died and was started again: nobody has listened to the agent meanwhile, and its launcher has killed
 * it. Its journal goes on where it stopped, its work is taken as it is.
 */
export async function closeLost(lost: LostAttempt): Promise<Eof> {
  const { spec, place, git, found } = lost;
  const started = performance.now();
  const finder = createFinder([spec.secrets, printsOf([{ value: spec.door.token, what: 'attempt token' }])]);
  const opened = await openJournal({
    ...place.journal,
    path: place.paths.journal,
    attempt: spec.attempt_id,
    onTrouble: () => undefined,
  });
  const journal = redacted(opened, finder);
  const message = 'The recorder died and was started again; the agent was ended with it.';
  journal.note('recorder_restarted', message, { pid: process.pid, version: lost.version });
  const heartbeat = setInterval(() => journal.heartbeat(), 15_000);
  let ending: Ending = { reason: 'lost', message, exit: null };
  try {
    if (!(await isGone(lost))) ending = noResult(journal, 'the agent may still be running.', ending);
    else if (found.begun && !found.told) ending = await rescue({ git, place, spec, journal }, ending);
  } finally {
    clearInterval(heartbeat);
  }
  const timings = { workspace_ms: null, first_message_ms: null, total_ms: Math.round(performance.now() - started) };
  return journal.close({ ...ending, message: shorten(ending.message ?? message), timings });
}

/** Whether nothing of the agent runs, for certain. The launcher comes back for us, unless its container has ended. */
async function isGone({ link, ended, launcherMs }: LostAttempt): Promise<boolean> {
  const came = await Promise.race([
    link.ready.then(() => 'launcher' as const),
    ended.then(() => 'ended' as const),
    wait(launcherMs, 'nobody' as const),
  ]);
  if (came === 'launcher') return (await link.kill()) !== null;
  return came === 'ended';
}

async function rescue(
  { git, place, spec, journal }: { git: Git; place: Place; spec: AttemptSpec; journal: Journal },
  ending: Ending,
): Promise<Ending> {
  if (!existsSync(place.paths.workspace)) return ending;
  try {
    const source = await place.source(new AbortController().signal);
    return await takeResult({ git, place, repository: { ...spec.repository, source }, journal }, ending);
  } catch (error) {
    return noResult(journal, toAppError(error).message, ending);
  }
}
