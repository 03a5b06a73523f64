import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { startTimeOf } from '../process-identity.ts';

/** The machine's own PID namespace has this number on every Linux (PROC_PID_INIT_INO, include/linux/proc_ns.h). */
const FIRST_NAMESPACE = 'pid:[4026531836]';

/**
 * Whether every process that is visible here, but PID 1 and this one, is the agent's: this process was started by PID 1, and PID 1
 * was started for this process (`tini -- node <this program>`). So it is in a container of our own; it is not where containers
 * share a PID namespace, or on a machine. To be asked before {@link killEverything}, which is as final there as it sounds.
 *
 * @param program the path of the running program, as it was given to Node
 */
export function ownsItsProcesses(program: string): boolean {
  if (process.platform !== 'linux' || program === '' || process.pid === 1 || process.ppid !== 1) return false;
  try {
    if (readlinkSync('/proc/self/ns/pid') === FIRST_NAMESPACE) return false;
    return readFileSync('/proc/1/cmdline', 'utf8').includes(program);
  } catch {
    return false;
  }
}

/**
 * Kills every process of the PID namespace but PID 1 and this one, until none is left. `kill(-1)` meets all of them at once
 * (kill(2)), so nothing can fork away from it.
 *
 * @returns how many were found. Errors: some would not go.
 */
export async function killEverything(): Promise<number> {
  const seen = new Set<string>();
  for (let round = 0; round < 200; round += 1) {
    const found = others();
    if (found.length === 0) return seen.size;
    for (const each of found) seen.add(each);
    try {
      process.kill(-1, 'SIGKILL');
    } catch {
      // ESRCH: gone in between.
    }
    await wait(round < 10 ? 2 : 50);
  }
  throw new Error(`These processes would not end: ${others().join(', ')}`);
}

/** Processes that run, as `<pid> <start time>`; zombies have ended. */
function others(): string[] {
  const found: string[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === 1 || pid === process.pid) continue;
    const startTime = startTimeOf(pid);
    if (startTime !== null) found.push(`${pid} ${startTime}`);
  }
  return found;
}
