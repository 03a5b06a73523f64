import { isDeepStrictEqual } from 'node:util';

/** Who the API server is, and who we are to it: found once, kept fresh while the server runs. */

/** PEM texts; what is left out is Node's default. */
export interface TlsMaterial {
  ca?: string;
  cert?: string;
  key?: string;
  /** The name to ask for and to check, where it is not the host of the address. */
  servername?: string;
  rejectUnauthorized: boolean;
}

/** What a request needs. The same `tls` object as long as its content is the same: connections live as long as it does. */
export interface Access {
  tls: TlsMaterial;
  /** The header; null = a client certificate, or nobody. */
  authorization: string | null;
}

export interface Credentials {
  /** Where they are from, in words. */
  readonly source: string;
  /** May have a path, which comes before every other. */
  readonly server: URL;
  /** The namespace they name; null = none. */
  readonly namespace: string | null;
  /** What is good now. Files are read again once they are a minute old. Errors: invalid_config, where nothing was ever good. */
  access(): Promise<Access>;
  /**
   * The server does not take it, or is not trusted with it: reads everything again. True where there is something else to try.
   * Errors: invalid_config, where there is nothing to be read.
   */
  renew(used: Access): Promise<boolean>;
}

/** Where credentials may be: all of it handed in, nothing is read from the environment here. */
export interface CredentialSources {
  /** A kubeconfig that has to be there; null = look in the other places. */
  kubeconfig: string | null;
  /** A context of a kubeconfig; null = its current one. */
  context: string | null;
  /** KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: set in every pod. */
  serviceHost: string | undefined;
  servicePort: string | undefined;
  /** Where a pod's service account is mounted; left out = where Kubernetes does. */
  serviceAccount?: string;
  /** KUBECONFIG: a list of files. */
  kubeconfigList: string | undefined;
  /** For ~/.kube/config; undefined = nobody's home. */
  home: string | undefined;
  /** The whole environment of programs that a kubeconfig names (`exec`). */
  programEnv: Readonly<Record<string, string | undefined>>;
}

/** What is read from files goes stale after this long. Kubernetes renews a pod's token well before it expires. */
const FRESH_MS = 60_000;
/** After a read that failed, the old is used on and the next read is this far. */
const AGAIN_MS = 5_000;

export interface CredentialFacts {
  source: string;
  server: URL;
  namespace: string | null;
  /** Whether anything can change: files, programs. */
  changing: boolean;
  /**
   * Reads everything.
   *
   * @param why `refused`: what was used is not taken, so nothing that was kept may be used again
   */
  load(why: 'stale' | 'refused'): Promise<{ access: Access; goodUntil: number | null }>;
}

/** Keeps what `load` brings for a minute, or for as long as it says; one load at a time. */
export function keepFresh(facts: CredentialFacts, now: () => number): Credentials {
  let held: Access | null = null;
  let staleAt = 0;
  let loading: Promise<Access> | null = null;

  async function load(why: 'stale' | 'refused'): Promise<Access> {
    try {
      const { access, goodUntil } = await facts.load(why);
      const tls = held !== null && isDeepStrictEqual(held.tls, access.tls) ? held.tls : access.tls;
      if (held === null || tls !== held.tls || access.authorization !== held.authorization) {
        held = { tls, authorization: access.authorization };
      }
      staleAt = facts.changing ? Math.min(now() + FRESH_MS, goodUntil ?? Infinity) : Infinity;
      return held;
    } catch (error) {
      // A file that is being replaced, a program that fails once: what was good may still be.
      if (held === null || why === 'refused') throw error;
      staleAt = now() + AGAIN_MS;
      return held;
    }
  }
  function loadOnce(why: 'stale' | 'refused'): Promise<Access> {
    loading ??= load(why).finally(() => {
      loading = null;
    });
    return loading;
  }

  return {
    source: facts.source,
    server: facts.server,
    namespace: facts.namespace,
    access: async () => (held !== null && now() < staleAt ? held : loadOnce('stale')),
    renew: async (used) => {
      // Somebody else was refused before us, and there is a new one already.
      if (held !== used) return true;
      return (await loadOnce('refused')) !== used;
    },
  };
}
