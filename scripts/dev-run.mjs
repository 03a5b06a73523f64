/**
 * `node scripts/dev-run.mjs --url URL --namespace NAMESPACE`: the demo's run at a server in a cluster, with the CLI of this checkout.
 * The key is the one that the server put into its Secret. Ends with 0 only if a variation succeeded.
 */
import { spawn, spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const WITHIN_MS = 180_000;
const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://localhost:8000' },
    namespace: { type: 'string', default: 'aideator' },
    release: { type: 'string', default: 'aideator' },
  },
});

/** The result of a try, tried again until it is there: the server may just be starting. */
async function until(what, attempt) {
  const end = Date.now() + WITHIN_MS;
  for (;;) {
    const { found, why } = await attempt();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`${what}: ${why}`);
    await sleep(500);
  }
}

const ready = await until(`${values.url} is not ready`, () =>
  fetch(`${values.url}/readyz`, { signal: AbortSignal.timeout(5000) }).then(
    (response) => (response.ok ? { found: true } : { why: `status ${response.status}` }),
    (error) => ({ why: error.cause?.message ?? error.message }),
  ),
);
const secret = ['-n', values.namespace, 'get', 'secret', `${values.release}-admin-key`];
const key = await until('There is no key', () => {
  const { status, stdout, stderr } = spawnSync('kubectl', [...secret, '-o', 'jsonpath={.data.key}'], {
    encoding: 'utf8',
  });
  return status === 0 && stdout !== ''
    ? { found: Buffer.from(stdout, 'base64').toString() }
    : { why: stderr.trim() || 'the Secret has none' };
});

const words = ['run', '--repo', '/data/sample', '--model', 'demo/demo', '--plain'];
const strategies = ['smallest-change', 'test-first', 'edge-cases-first'].flatMap((name) => ['--strategy', name]);
const prompt = 'npm test fails: parseDuration("1h30m") returns 3600 instead of 5400. Fix it.';
const child = spawn('npm', ['run', '-s', 'aideator', '--', ...words, ...strategies, '--prompt', prompt], {
  cwd: dirname(import.meta.dirname),
  stdio: 'inherit',
  env: { ...process.env, AIDEATOR_URL: values.url, AIDEATOR_API_KEY: key },
});
child.once('exit', (code) => {
  process.exitCode = ready ? (code ?? 1) : 1;
});
