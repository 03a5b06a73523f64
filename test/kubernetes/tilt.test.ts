import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hasHelm, root } from '../support/helm.ts';
import { freePort, realCluster } from '../support/real-cluster.ts';

/** `tilt ci`, as somebody who works on AIdeator types it: its own images, the chart, the server from sources, a run. */

const cluster = realCluster();
const works = (program: string, ...args: string[]) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;
const isThere = cluster !== null && hasHelm() && works('tilt', 'version') && works('docker', 'info');
if (cluster !== null && !isThere) process.stderr.write('SKIPPED: no tilt, or no docker: the Tiltfile was not tested\n');
/** Images may have to be built from nothing (ms). */
const WITHIN_MS = 900_000;

describe.runIf(isThere)('the Tiltfile', () => {
  it('ends green, and did a run', { timeout: WITHIN_MS }, async () => {
    const { kubeconfig, apiImage, kubectl } = cluster!;
    const namespace = `charttests-tilt-${process.pid}`;
    onTestFinished(() => void kubectl('delete', 'namespace', namespace, '--ignore-not-found', '--wait=false'));
    const settings = {
      context: kubectl('config', 'current-context').trim(),
      registry: apiImage.slice(0, apiImage.lastIndexOf('/')),
      namespace,
      port: String(await freePort()),
    };
    const words = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    // The CLI in it refuses names that are no setting, as those of this suite are.
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith('AIDEATOR_'));
    const { stdout } = await promisify(execFile)('tilt', ['ci', '--web-mode', 'prod', '--port', '0', '--', ...words], {
      cwd: root,
      env: { ...Object.fromEntries(own), KUBECONFIG: kubeconfig },
      maxBuffer: 1 << 28,
      timeout: WITHIN_MS,
    });
    expect(stdout).toMatch(/ completed: 3 of 3 variations succeeded\.[^]*SUCCESS\. All workloads are healthy\./);
  });
});
