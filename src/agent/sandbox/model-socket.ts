import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';
import { join } from 'node:path';

/** The recorder's proxy as a sandbox finds it: the socket's path inside, and the port of its own loopback that leads there. */
export const INSIDE_SOCKET = '/run/aideator/models.sock';
export const INSIDE_PORT = 41_414;

const NAME = 'models.sock';

/** Where the socket of an attempt lies outside. */
export function modelSocket(folder: string): string {
  return join(folder, NAME);
}

/**
 * Listens on a Unix socket in a folder of any length: sockaddr_un.sun_path holds 108 bytes, and the folder's descriptor is a short
 * name for it (Linux). Makes the folder.
 */
export async function listenInFolder(server: Server, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  rmSync(modelSocket(folder), { force: true });
  const descriptor = openSync(folder, 'r');
  server.once('close', () => closeSync(descriptor));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(`/proc/self/fd/${descriptor}/${NAME}`, resolve);
  });
}
