import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';
import { serve } from '../harness/serve.ts';

/** The least that a start on Kubernetes can cost: a Job of one container that prints a line, and `kubectl logs -f`. */
const run = promisify(execFile);
let namespace = '';
let image = '';
let made = 0;

async function start(): Promise<number> {
  made += 1;
  const name = `bare-${made}-${process.pid}`;
  const job = {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, namespace },
    spec: {
      backoffLimit: 0,
      ttlSecondsAfterFinished: 60,
      template: {
        spec: {
          restartPolicy: 'Never',
          containers: [
            { name: 'main', image, command: ['node', '-e', 'console.log("hello"); setTimeout(() => {}, 2000)'] },
          ],
        },
      },
    },
  };
  const begin = performance.now();
  const create = spawn('kubectl', ['create', '-f', '-'], { stdio: ['pipe', 'ignore', 'inherit'] });
  create.stdin.end(JSON.stringify(job));
  await new Promise((resolve) => create.once('exit', resolve));
  for (;;) {
    // Answers with an error until there is a container to follow.
    const logs = spawn('kubectl', ['logs', '-f', '-n', namespace, `job/${name}`], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const first = await new Promise<boolean>((resolve) => {
      logs.stdout.once('data', () => resolve(true));
      logs.once('exit', () => resolve(false));
    });
    logs.kill();
    if (first) return performance.now() - begin;
  }
}

const handlers = {
  open: async (options: { namespace: string; image: string }) => {
    ({ namespace, image } = options);
    await run('kubectl', ['create', 'namespace', namespace]);
  },
  /** Milliseconds until the first line of each of `count` Jobs that are made at once. */
  start: (count: number) => Promise.all(Array.from({ length: count }, start)),
  close: () => run('kubectl', ['delete', 'namespace', namespace, '--wait=false']).then(() => undefined),
};
export type BareJob = typeof handlers;

serve(handlers, () => undefined);
