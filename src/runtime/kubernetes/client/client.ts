import { createApi, type KubernetesApi } from './api.ts';
import type { CredentialSources } from './credentials.ts';
import { findCredentials } from './find-credentials.ts';
import { createTransport, type TransportTimings } from './transport.ts';

/** A way to one cluster's API, in one namespace. */
export interface ClusterClient {
  readonly api: KubernetesApi;
  readonly namespace: string;
  /** The address, and where it and the credentials are from, in words. */
  readonly server: string;
  readonly source: string;
  /** Ends all connections. */
  close(): void;
}

/**
 * Finds the cluster. Nothing is sent yet.
 *
 * @param options.namespace null = the one that the credentials name, else `default`
 *
 * Errors: invalid_config.
 */
export async function connectCluster(
  options: CredentialSources & { namespace: string | null; timings?: Partial<TransportTimings> },
): Promise<ClusterClient> {
  const credentials = await findCredentials(options);
  const transport = createTransport({
    credentials,
    ...(options.timings === undefined ? {} : { timings: options.timings }),
  });
  const namespace = options.namespace ?? credentials.namespace ?? 'default';
  return {
    api: createApi(transport, namespace),
    namespace,
    server: credentials.server.origin,
    source: credentials.source,
    close: () => transport.close(),
  };
}
