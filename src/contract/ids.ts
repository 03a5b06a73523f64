import { randomBytes, randomUUID } from 'node:crypto';

const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';

/** A new run id: 10 characters that are a valid DNS label part (it names Kubernetes Jobs) and hard to misread. */
export function newRunId(): string {
  let id = '';
  while (id.length < 10) {
    for (const byte of randomBytes(16)) {
      // 248 = 8 * 31: a larger byte would favour the first letters.
      if (byte < 248 && id.length < 10) id += ALPHABET[byte % 31];
    }
  }
  return /^[a-z]/.test(id) ? id : `r${id.slice(1)}`;
}

export const RUN_ID = /^[a-z][a-z0-9]{9}$/;

/** The identity of one attempt (in a cluster: the pod's UID). */
export function newAttemptId(): string {
  return randomUUID();
}

/** Now, in UTC with milliseconds: the only time format of contract, store and API. */
export function now(): string {
  return new Date().toISOString();
}
