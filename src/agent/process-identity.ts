import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

/** The variable in every agent's environment by which its processes are found, wherever they went. */
export const ATTEMPT_VARIABLE = 'AIDEATOR_ATTEMPT';

/**
 * When a process was started, in the kernel's own words: with the pid it names one process and no later one. Null where no
 * such process runs (a zombie has ended).
 *
 * Linux: field 22 of /proc/<pid>/stat, clock ticks since boot (proc_pid_stat(5)). Elsewhere: `ps -o lstart=`.
 */
export function startTimeOf(pid: number): string | null {
  if (!Number.isInteger(pid) || pid <= 0) return null;
  if (process.platform === 'linux') {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // The name in brackets may hold anything, brackets and blanks included; what follows the last bracket is numbers.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
    } catch {
      return null;
    }
  }
  return startTimeByPs(pid);
}

/** As {@link startTimeOf}, by `ps`: seconds are all it tells. */
export function startTimeByPs(pid: number): string | null {
  try {
    const said = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [, state = 'Z', time = ''] = /^\s*(\S+)\s+(.*\S)\s*$/.exec(said) ?? [];
    return state.startsWith('Z') || time === '' ? null : time;
  } catch {
    return null;
  }
}

/** Sends a signal to a process group; one that is gone is no error. */
export function signalGroup(leader: number | undefined, signal: NodeJS.Signals): void {
  // 0 and 1 would mean our own group, and everything.
  if (leader === undefined || leader <= 1) return;
  try {
    process.kill(-leader, signal);
  } catch {
    // ESRCH: nobody is left in it.
  }
}

/**
 * Kills what an attempt's agent left running outside its process group (`setsid`, double forks): every process of this user
 * whose environment names the attempt. Looks again until nothing is found, because what is being killed may still be forking.
 *
 * Linux only; elsewhere 0. A process that cleared its environment is not found: only a sandbox holds that one.
 *
 * @returns how many were killed
 */
export async function killStragglers(attemptId: string): Promise<number> {
  const killed = new Set<string>();
  for (let round = 0; round < 40; round += 1) {
    const found = findStragglers(attemptId);
    if (found.length === 0) break;
    for (const { pid, startTime } of found) {
      killed.add(`${pid} ${startTime}`);
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone in between.
      }
    }
    await wait(round < 5 ? 5 : 50);
  }
  return killed.size;
}

/** Running processes whose environment names the attempt. */
export function findStragglers(attemptId: string): { pid: number; startTime: string }[] {
  if (process.platform !== 'linux') return [];
  const mark = Buffer.from(`\0${ATTEMPT_VARIABLE}=${attemptId}\0`);
  const found: { pid: number; startTime: string }[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const environment = readFileSync(`/proc/${name}/environ`);
      if (environment.length === 0 || !Buffer.concat([NUL, environment, NUL]).includes(mark)) continue;
      const startTime = startTimeOf(pid);
      if (startTime !== null) found.push({ pid, startTime });
    } catch {
      // Another user's, or gone.
    }
  }
  return found;
}

const NUL = Buffer.from([0]);
