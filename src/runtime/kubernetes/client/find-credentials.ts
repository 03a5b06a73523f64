import { AppError } from '../../../errors.ts';
import type { CredentialSources, Credentials } from './credentials.ts';
import { findServiceAccount } from './in-cluster.ts';
import { kubeconfigCredentials } from './kubeconfig-credentials.ts';
import { kubeconfigPaths } from './kubeconfig.ts';

/**
 * Finds the credentials: the kubeconfig or context that was asked for, else the pod's service account, else KUBECONFIG, else
 * ~/.kube/config.
 *
 * Errors: invalid_config, which says where was looked and what is wrong there.
 */
export async function findCredentials(sources: CredentialSources, now: () => number = Date.now): Promise<Credentials> {
  if (sources.kubeconfig === null && sources.context === null) {
    const found = await findServiceAccount(sources, now);
    if (found !== null) return found;
  }
  const paths = kubeconfigPaths(sources);
  if (paths.length === 0) {
    throw new AppError('invalid_config', 'No Kubernetes cluster is configured', {
      hint: 'Set kubernetes.kubeconfig or KUBECONFIG, or run in a pod whose service account token is mounted.',
    });
  }
  return kubeconfigCredentials(sources, paths, now);
}
