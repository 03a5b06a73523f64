import process from 'node:process';

/**
 * The recorder's process: `node recorder-main.ts <attempt directory>`. Started detached by the runtime, it outlives the server.
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

try {
  process.exitCode = await main(process.argv[2]);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
}
process.exit();

async function main(directory: string | undefined): Promise<number> {
  if (directory === undefined) {
    process.stderr.write('usage: recorder-main <attempt directory>\n');
    return 2;
  }
  const { readStop, takeAttempt, ownVersion } = await import('./claim.ts');
  const spec = await takeAttempt(directory);
  if (spec === null) return 0;
  onStop = () => {
    readStop(directory).then(
      (reason) => stopping.abort(reason ?? 'cancelled'),
      (error: unknown) => crash.abort(error),
    );
  };
  const early = await readStop(directory);
  if (early !== null || signalled) stopping.abort(early ?? 'cancelled');
  const { runRecorder } = await import('./recorder.ts');
  await runRecorder({
    spec,
    directory,
    env: process.env,
    node: process.execPath,
    version: await ownVersion(),
    signal: stopping.signal,
    crashed: crash.signal,
  });
  return 0;
}
