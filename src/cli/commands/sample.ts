import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { makeRepository } from '../demo/sample-repository.ts';
import type { Session } from '../session.ts';

/** `aideator sample`: the demo's repository, for a server that is to show runs without a key (in a cluster: for `helm test`). */
export async function sample(session: Session, [folder = '']: string[]): Promise<number> {
  const { io } = session;
  const path = resolve(io.cwd, folder);
  const stop = new AbortController();
  const off = io.onSignal(() => stop.abort());
  try {
    const isThere = existsSync(path);
    if (!isThere) await make(path, { env: io.env, signal: stop.signal });
    if (session.json) session.printJson({ repository: path, made: !isThere });
    else session.print(isThere ? `${path} is there already.` : `${path}: the repository of the demo.`);
    return 0;
  } finally {
    off();
  }
}

/** Whole or not at all: a start that was cut off is made up for by the next. */
async function make(path: string, runner: Parameters<typeof makeRepository>[1]): Promise<void> {
  const part = `${path}.part`;
  rmSync(part, { recursive: true, force: true });
  mkdirSync(dirname(path), { recursive: true });
  mkdirSync(part);
  await makeRepository(part, runner);
  renameSync(part, path);
}
