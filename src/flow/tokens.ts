import { createHash, randomBytes } from 'node:crypto';

/** A new token for one attempt: given to its recorder, never to the agent, stored only as its hash. */
export function newToken(): string {
  return `at_${randomBytes(32).toString('base64url')}`;
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** The attempts whose recorders may come through the attempt door. */
export interface TokenBook<Holder> {
  /** Admits an attempt by its token's hash. */
  admit(tokenSha256: string, holder: Holder): void;
  /** Ends its admission: the same token is refused from now on. */
  revoke(tokenSha256: string): void;
  /** Whose token it is; undefined for one that is unknown or ended. Found by hash, so timing says nothing about a token. */
  find(token: string): Holder | undefined;
}

export function createTokenBook<Holder>(): TokenBook<Holder> {
  const holders = new Map<string, Holder>();
  return {
    admit: (sha256, holder) => void holders.set(sha256, holder),
    revoke: (sha256) => void holders.delete(sha256),
    find: (token) => holders.get(hashToken(token)),
  };
}
