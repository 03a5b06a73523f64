import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { END_REASONS } from '../src/contract/run.ts';
import { permissions } from '../src/runtime/kubernetes/client/permissions.ts';
import { nameOf } from '../src/runtime/kubernetes/preflight.ts';

const docs = readFileSync(join(import.meta.dirname, '..', 'docs', 'kubernetes.md'), 'utf8');

test('docs/kubernetes.md says of each right what it is for, and of no other', () => {
  const section = /### What each right is for\n([^]*?)\n### /.exec(docs)?.[1] ?? '';
  const rows = [...section.matchAll(/^\| `([^`]+)` +\| (.+?) +\|$/gm)].map(([, right, why]) => [right, why]);
  const needed = permissions.filter(({ namespace }) => namespace === 'attempts');
  expect(rows).toEqual(needed.map((permission) => [nameOf(permission), permission.why]));
  for (const permission of permissions.filter(({ namespace }) => namespace === 'server'))
    expect(section).toContain(`\`${nameOf(permission)}\``);
});

test('docs/kubernetes.md knows every reason to end that only a cluster has', () => {
  const ofCluster = END_REASONS.slice(END_REASONS.indexOf('unschedulable'));
  const silent = ofCluster.filter((reason) => !docs.includes(`\`${reason}\``));
  // `terminated`: nobody can say why, so there is nothing to look at.
  expect(silent).toEqual(['terminated']);
});
