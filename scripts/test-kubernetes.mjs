/**
 * `npm run test:kubernetes [-- files and options of vitest]`: the tests in test/kubernetes on the cluster that kubectl talks to now.
 * Without kubectl and a cluster nothing is tested, and that is said. The images are built from this checkout and pushed to the
 * registry AIDEATOR_TEST_REGISTRY (default localhost:5005), unless AIDEATOR_TEST_TAG names a tag that is there.
 */
import { spawnSync } from 'node:child_process';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const env = { ...process.env };

function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, env, encoding: 'utf8', ...options });
}

const nodes = run('kubectl', ['get', 'nodes', '--request-timeout=10s', '-o', 'name']);
if (nodes.status === 0 && nodes.stdout.trim() !== '') {
  const registry = env.AIDEATOR_TEST_REGISTRY ?? 'localhost:5005';
  let tag = env.AIDEATOR_TEST_TAG;
  if (tag === undefined) {
    tag = `test-${Date.now().toString(36)}`;
    const images = run(process.execPath, ['scripts/images.mjs', '--push', '--registry', registry, '--tag', tag], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    if (images.status !== 0) process.exit(images.status ?? 1);
  }
  env.AIDEATOR_TEST_AGENT_IMAGE = `${registry}/aideator-agent:${tag}`;
  env.AIDEATOR_TEST_API_IMAGE = `${registry}/aideator-api:${tag}`;
  env.AIDEATOR_TEST_KUBECONFIG = env.KUBECONFIG ?? join(homedir(), '.kube', 'config');
} else {
  process.stderr.write(
    `SKIPPED: there is no cluster (${(nodes.stderr ?? 'no kubectl').trim()}): nothing of Kubernetes is tested\n`,
  );
}
const vitest = ['node_modules/vitest/vitest.mjs', 'run', '-c', 'vitest.kubernetes.config.ts', ...process.argv.slice(2)];
process.exit(run(process.execPath, vitest, { stdio: ['ignore', 'inherit', 'inherit'] }).status ?? 1);
