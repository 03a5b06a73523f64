import { execFileSync, spawn } from 'node:child_process';
import { onTestFinished } from 'vitest';
import type { RealCluster } from './real-cluster.ts';

/** What the chart's notes tell people to type, as if they did. */

/** The commands: the indented lines. */
export function commandsIn(notes: string): string[] {
  return [...notes.matchAll(/^ {3}(\S.*)$/gm)].map(([, command = '']) => command);
}

/** Runs it in a shell, to its end; answers what it printed. */
export function shell({ kubeconfig }: RealCluster, script: string): string {
  return execFileSync('sh', ['-ec', script], { env: { ...process.env, KUBECONFIG: kubeconfig }, encoding: 'utf8' });
}

/** Runs a command that forwards port 8000, but from any free port; resolves with that one. */
export function forwarded({ kubeconfig }: RealCluster, command: string): Promise<string> {
  const env = { ...process.env, KUBECONFIG: kubeconfig };
  const child = spawn('sh', ['-c', command.replace('8000:', ':')], { env, detached: true });
  onTestFinished(() => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid);
  });
  let out = '';
  return new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      const port = /Forwarding from 127\.0\.0\.1:(\d+) /.exec(out)?.[1];
      if (port !== undefined) resolve(port);
    });
    child.stderr.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.once('close', () => reject(new Error(`${command}: ${out}`)));
  });
}
