import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../../../errors.ts';
import { keepFresh, type CredentialSources, type Credentials } from './credentials.ts';
import { kubeconfigPaths } from './kubeconfig.ts';

/** A pod's own credentials: the files of its service account, which the kubelet replaces as they are renewed. */

const MOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The service account's credentials; null where this is no pod.
 *
 * Errors: invalid_config, in a pod without a token where no kubeconfig is named either.
 */
export async function findServiceAccount(sources: CredentialSources, now: () => number): Promise<Credentials | null> {
  const { serviceHost, servicePort } = sources;
  if (!serviceHost || !servicePort) return null;
  const folder = sources.serviceAccount ?? MOUNT;
  const token = await readIfThere(join(folder, 'token'));
  if (token === null) {
    if (kubeconfigPaths(sources).length > 0) return null;
    throw new AppError('invalid_config', `This is a pod, but it has no service account token in ${folder}`, {
      hint: 'Set automountServiceAccountToken: true for the pod (the chart does), or kubernetes.kubeconfig.',
    });
  }
  const host = serviceHost.includes(':') ? `[${serviceHost}]` : serviceHost;
  return keepFresh(
    {
      source: 'the pod’s service account',
      server: new URL(`https://${host}:${servicePort}`),
      namespace: (await readIfThere(join(folder, 'namespace')))?.trim() || null,
      changing: true,
      load: async () => {
        const [ca, bearer] = await Promise.all([
          readIfThere(join(folder, 'ca.crt')),
          readIfThere(join(folder, 'token')),
        ]);
        if (bearer === null) {
          throw new AppError('invalid_config', `The service account token is gone from ${folder}`);
        }
        return {
          access: {
            tls: { rejectUnauthorized: true, ...(ca === null ? {} : { ca }) },
            authorization: `Bearer ${bearer.trim()}`,
          },
          goodUntil: null,
        };
      },
    },
    now,
  );
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new AppError('invalid_config', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
