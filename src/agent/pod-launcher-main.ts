import process from 'node:process';

/**
 * The agent container's process: `tini -- node pod-launcher-main.js`. It waits for the recorder's socket and does what it is told
 * there (`pod/launcher.ts`). SIGTERM does not end it: it is passed on to the recorder, which ends the attempt in order and then
 * dismisses it.
 */
const terminating = new AbortController();
// Before anything is loaded.
process.on('SIGTERM', () => terminating.abort());
process.on('SIGINT', () => terminating.abort());
process.on('SIGHUP', () => undefined);
process.on('SIGPIPE', () => undefined);

const say = (words: string): void => void process.stderr.write(`aideator launcher: ${words}\n`);
try {
  const { runLauncher } = await import('./pod/launcher.ts');
  const { podPaths, ROOT_VARIABLE } = await import('./pod/pod-paths.ts');
  const { ownsItsProcesses } = await import('./pod/everything.ts');
  const { findWayApart, isTracingRestricted } = await import('./pod/apart.ts');
  const paths = podPaths(process.env[ROOT_VARIABLE]);
  process.exitCode = await runLauncher({
    socket: paths.socket,
    cgroup: paths.cgroup,
    env: process.env,
    node: process.execPath,
    alone: ownsItsProcesses(process.argv[1] ?? ''),
    apart: findWayApart(),
    isTracingRestricted: isTracingRestricted(),
    terminating: terminating.signal,
    say,
  });
} catch (error) {
  say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exitCode = 1;
}
process.exit();
