import { permissions, type Permission } from '../../src/runtime/kubernetes/client/permissions.ts';
import { name, type Release } from './release.ts';

/** What the server may do where attempts run: one right after the other. */
export const attemptRights = permissions.filter(({ namespace }) => namespace === 'attempts');

/** `get pods/log`, `create jobs.batch`: as the doctor names it. */
export function wordsFor({ verb, group, resource, subresource }: Permission): string {
  return `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}${group === '' ? '' : `.${group}`}`;
}

/** Gives the installed Role all rights but one; all, where none is named. */
export async function allowAllBut({ kubectl, agents }: Release, missing: string | null): Promise<void> {
  const rules = attemptRights
    .filter((right) => wordsFor(right) !== missing)
    .map(({ verb, group, resource, subresource }) => ({
      apiGroups: [group],
      resources: [subresource === undefined ? resource : `${resource}/${subresource}`],
      verbs: [verb],
    }));
  await kubectl('patch', 'role', `${name}-attempts`, '-n', agents, '--type=merge', '-p', JSON.stringify({ rules }));
}

/** The rights that the doctor misses, as {@link wordsFor} them. */
export async function missed({ api }: Release): Promise<string[]> {
  const { body } = await api<{ findings: { check: string; state: string; text: string }[] }>('GET', '/api/v1/doctor');
  const failures = body.findings.filter(({ check, state }) => check === 'rights' && state === 'fail');
  return failures.map(({ text }) => /^may not ([^:]+): cannot /.exec(text)?.[1] ?? text);
}
