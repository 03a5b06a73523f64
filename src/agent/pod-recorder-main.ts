import { readFileSync } from 'node:fs';
import process from 'node:process';

/**
 * The recorder's process in a pod, a native sidecar: `node pod-recorder-main.js`, told by the environment that `contract/pod.ts`
 * names. Standard output is the pod's log: journal lines, and nothing else. SIGTERM comes when the agent's container has ended, or
 * its grace has: what is left to deliver is delivered as far as the pod's grace allows.
 */
const terminated = new AbortController();
const crash = new AbortController();
// Before anything is loaded.
process.on('SIGTERM', () => terminated.abort());
process.on('SIGINT', () => terminated.abort());
process.on('SIGHUP', () => undefined);
process.on('SIGPIPE', () => undefined);
process.on('uncaughtException', (error) => crash.abort(error));
process.on('unhandledRejection', (error) => crash.abort(error));

const say = (words: string): void => void process.stderr.write(`aideator recorder: ${words}\n`);
try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exitCode = 1;
}
process.exit();

async function main(): Promise<number> {
  const { pod } = await import('../contract/pod.ts');
  const { podPaths, ROOT_VARIABLE } = await import('./pod/pod-paths.ts');
  const { runPodRecorder } = await import('./pod/pod-recorder.ts');
  const { ownVersion } = await import('./claim.ts');
  const paths = podPaths(process.env[ROOT_VARIABLE]);
  const given = (name: string): string => {
    const value = process.env[name];
    if (value === undefined || value === '') throw new Error(`${name} is not set.`);
    return value;
  };
  const seconds = (name: string, otherwise: number): number => {
    const value = Number(process.env[name] ?? otherwise);
    if (!(value >= 0)) throw new Error(`${name} is not a number of seconds.`);
    return value;
  };
  return runPodRecorder({
    doorUrl: given(pod.env.door),
    attempt: given(pod.env.attempt),
    podUid: given(pod.env.podUid),
    holdSeconds: seconds(pod.env.holdSeconds, 3600),
    graceSeconds: seconds(pod.env.graceSeconds, 30),
    token: readFileSync(paths.token, 'utf8').trim(),
    paths,
    env: process.env,
    version: await ownVersion(),
    stdout: process.stdout,
    say,
    terminated: terminated.signal,
    crashed: crash.signal,
  });
}
