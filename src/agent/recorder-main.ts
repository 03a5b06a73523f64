import { appendFileSync } from 'node:fs';
import process from 'node:process';

/**
 * The recorder's process: `node recorder-main.ts <attempt directory>`. Started detached by the runtime, it outlives the server.
 * `node recorder-main.ts --spare` makes itself ready, waits for the directory on its standard input, and ends if that is closed
 * without one: its server is gone, or does not need it.
 *
 * To stop an attempt: write `stop.json`, then send SIGTERM if `claim.json` is there; a recorder that has not claimed the attempt
 * yet finds `stop.json` by itself. Exit 0: the journal has its last word, or the attempt was taken by somebody else.
 */
const stopping = new AbortController();
const crash = new AbortController();
let signalled = false;
let onStop = (): void => {
  signalled = true;
};
// Before anything is loaded: a stop must not meet a process that dies of it.
process.on('SIGTERM', () => onStop());
process.on('SIGINT', () => onStop());
// Those whose end must not be ours: the terminal, and whoever reads what we print.
process.on('SIGHUP', () => undefined);
process.on('SIGPIPE', () => undefined);
process.on('uncaughtException', (error) => crash.abort(error));
process.on('unhandledRejection', (error) => crash.abort(error));

const spare = process.argv[2] === '--spare';
const directory = spare ? await assigned() : process.argv[2];
try {
  process.exitCode = await main(directory);
} catch (error) {
  const words = `${error instanceof Error ? error.stack : String(error)}\n`;
  // A spare was started before there was a log.
  if (spare && directory !== undefined) {
    const { attemptPaths } = await import('./claim.ts');
    appendFileSync(attemptPaths(directory).recorderLog, words);
  } else {
    process.stderr.write(words);
  }
  process.exitCode = 1;
}
process.exit();

/** What a spare is given, once it is ready. Ends the process where nothing is. */
async function assigned(): Promise<string> {
  onStop = () => process.exit(0);
  await import('./claim.ts');
  await import('./recorder.ts');
  let text = '';
  for await (const chunk of process.stdin) text += String(chunk);
  onStop = () => {
    signalled = true;
  };
  const given = text.trimEnd();
  return given === '' ? process.exit(0) : given;
}

async function main(attempt: string | undefined): Promise<number> {
  if (attempt === undefined) {
    process.stderr.write('usage: recorder-main <attempt directory>\n');
    return 2;
  }
  const { readStop, takeAttempt, ownVersion } = await import('./claim.ts');
  const spec = await takeAttempt(attempt);
  if (spec === null) return 0;
  onStop = () => {
    readStop(attempt).then(
      (reason) => stopping.abort(reason ?? 'cancelled'),
      (error: unknown) => crash.abort(error),
    );
  };
  const early = await readStop(attempt);
  if (early !== null || signalled) stopping.abort(early ?? 'cancelled');
  const { runRecorder } = await import('./recorder.ts');
  const { localPlace } = await import('./place.ts');
  await runRecorder({
    spec,
    place: localPlace({ spec, directory: attempt, env: process.env, node: process.execPath }),
    env: process.env,
    version: await ownVersion(),
    signal: stopping.signal,
    crashed: crash.signal,
  });
  return 0;
}
