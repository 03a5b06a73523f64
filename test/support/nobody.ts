import { execFileSync } from 'node:child_process';

const NOBODY = 65534;

/**
 * Runs something with the rights of an ordinary user, to whom a mode of 000 says no. Tests that run as root become "nobody" for
 * its time, who is given the folder first; others are ordinary users already.
 */
export async function asNobody<T>(folder: string, work: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0 || process.seteuid === undefined) return work();
  execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, folder]);
  process.seteuid(NOBODY);
  try {
    return await work();
  } finally {
    process.seteuid(0);
  }
}
