import { networkInterfaces } from 'node:os';
import type { Info } from '../contract/api-system.ts';
import { runningServer } from './server.ts';

/** Whether a name or an address in a URL is this machine's own loopback. */
export function isLoopbackName(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/**
 * Whether a server sees the files of this machine, so that a path means the same to both. A URL alone does not tell: behind
 * http://localhost:8000 may be a process of this user, or a Kubernetes Service by port forwarding. The one of this machine has left
 * its address in its data directory, which is then here to be read.
 *
 * @param url the server's, as it was named
 */
export async function seesOurFiles(url: string, info: Pick<Info, 'runtime' | 'data_dir'>): Promise<boolean> {
  if (info.runtime !== 'local') return false;
  const { hostname, port } = new URL(url);
  const addresses = Object.values(networkInterfaces()).flatMap((each) => (each ?? []).map(({ address }) => address));
  if (!isLoopbackName(hostname) && !addresses.includes(hostname.replace(/^\[|\]$/g, ''))) return false;
  const here = await runningServer(info.data_dir);
  return here !== null && new URL(here.url).port === port;
}
