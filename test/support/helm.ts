import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

export const root = join(import.meta.dirname, '..', '..');
export const chart = join(root, 'deploy', 'charts', 'aideator');

/** Whether there is a helm to ask; where not, says so: a test that is left out is to be seen. */
export function hasHelm(): boolean {
  const there = spawnSync('helm', ['version'], { stdio: 'ignore' }).status === 0;
  if (!there) process.stderr.write('SKIPPED: there is no helm on the PATH, so the chart is not tested.\n');
  return there;
}

/** A Kubernetes object, as far as tests look into it. */
export interface Rendered {
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  [field: string]: unknown;
}

/** `helm template`, as text. Throws with what helm says. */
export function render(args: readonly string[]): string {
  return execFileSync('helm', ['template', 'demo', chart, '--namespace', 'somewhere', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** What was rendered, in an order that does not depend on helm's. */
export function objectsOf(text: string): Rendered[] {
  const objects = parseAllDocuments(text).flatMap((document): Rendered[] => {
    if (document.errors[0] !== undefined) throw document.errors[0];
    const object = document.toJS() as Rendered | null;
    return object === null ? [] : [object];
  });
  const place = ({ kind, metadata }: Rendered) => `${kind} ${metadata.namespace ?? ''} ${metadata.name}`;
  return objects.toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
}
