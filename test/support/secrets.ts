import { createSecrets, type Secrets } from '../../src/flow/secrets.ts';

/** Of a server that knows no secret: what looks like one is still found. */
export function noSecrets(): Secrets {
  return createSecrets({ keys: {}, providers: {}, api_key: null, agents: {}, env: {} });
}
