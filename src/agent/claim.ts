import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { attemptSpec, type AttemptSpec } from '../contract/attempt.ts';
import { now } from '../contract/ids.ts';
import { endReason, type EndReason } from '../contract/run.ts';
import { startTimeOf } from './process-identity.ts';

/** What lies where in an attempt's directory. */
export function attemptPaths(directory: string) {
  return {
    /** The AttemptSpec; holds the attempt's token, and is removed when it was read. */
    spec: join(directory, 'spec.json'),
    /** Made by whoever takes the attempt, and only by the first. */
    claim: join(directory, 'claim.json'),
    journal: join(directory, 'journal.ndjson'),
    /** Why it is to stop; written before the recorder is signalled. */
    stop: join(directory, 'stop.json'),
    /** Bytes kept for the journal's last words on a full disk. */
    reserve: join(directory, 'reserve'),
    workspace: join(directory, 'workspace'),
    home: join(directory, 'home'),
    tmp: join(directory, 'tmp'),
    /** What its sandbox is made of, and the socket that leads out of it; not there without one. */
    sandbox: join(directory, 'sandbox'),
    snapshot: join(directory, 'snapshot.git'),
    patch: join(directory, 'result.patch'),
    /** What the recorder's process itself prints: nothing, unless it fails. */
    recorderLog: join(directory, 'recorder.log'),
  };
}
export type AttemptPaths = ReturnType<typeof attemptPaths>;

/** Takes an attempt for this process: its spec, or null where it was taken already. Errors: a spec that is missing or not valid. */
export async function takeAttempt(directory: string): Promise<AttemptSpec | null> {
  const paths = attemptPaths(directory);
  const claim = { pid: process.pid, start_time: startTimeOf(process.pid), at: now() };
  try {
    await writeFile(paths.claim, `${JSON.stringify(claim)}\n`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null;
    throw error;
  }
  const spec = attemptSpec.parse(JSON.parse(await readFile(paths.spec, 'utf8')));
  // It holds the token, and the agent will work beside it.
  await rm(paths.spec);
  return spec;
}

/** Why the attempt is to stop, as whoever wants it wrote down; null where nobody does, `cancelled` where they said no reason. */
export async function readStop(directory: string): Promise<EndReason | null> {
  let text: string;
  try {
    text = await readFile(attemptPaths(directory).stop, 'utf8');
  } catch {
    return null;
  }
  const found = /"reason"\s*:\s*"([a-z_]+)"/.exec(text)?.[1];
  return endReason.safeParse(found).data ?? 'cancelled';
}

/** The version of the package that this file is a part of. */
export async function ownVersion(): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  return z.object({ version: z.string() }).parse(manifest).version;
}
