import type { SandboxLimits } from '../../contract/sandbox.ts';

/**
 * Programs that bound what they start and become it: `sh` with arguments, nothing in them is read by it. Limits that are lower
 * already stay.
 */

/** Puts itself into control groups, then becomes the command. */
export function inGroups(folders: readonly string[], command: readonly string[]): string[] {
  if (folders.length === 0) return [...command];
  const script = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@"';
  return ['/bin/sh', '-c', script, 'sh', ...folders, '--', ...command];
}

/**
 * Sets rlimits, then becomes the command. To be run inside the sandbox: there a limit on processes counts the sandbox's own, not all of
 * the user's (Linux 5.14 or newer).
 *
 * @param grouped whether a control group bounds memory and processes: rlimits then need not. RLIMIT_DATA is what a process may fill;
 *   RLIMIT_AS would count what V8 only sets aside, which is more than there is.
 */
export function withRlimits(limits: SandboxLimits, grouped: boolean, command: readonly string[]): string[] {
  const set = (option: string, value: number): string => `ulimit -${option} ${value} 2>/dev/null || :`;
  const script = [
    set('c', 0),
    set('n', limits.max_open_files),
    // In POSIX mode, as `sh`, in blocks of 512 bytes.
    set('f', Math.ceil(limits.max_file_bytes / 512)),
    // bash has -u where dash has -p.
    ...(grouped
      ? []
      : [
          `ulimit -u ${limits.max_processes} 2>/dev/null || ${set('p', limits.max_processes)}`,
          set('d', Math.ceil(limits.max_memory_bytes / 1024)),
        ]),
    'exec "$@"',
  ].join('\n');
  return ['/bin/sh', '-c', script, 'sh', ...command];
}

/** What bounds memory and processes, in words people are shown. */
export function limitWords(limits: SandboxLimits, grouped: boolean): string {
  const memory = sizeWords(limits.max_memory_bytes);
  return grouped
    ? `${memory} of memory and ${limits.max_processes} processes by a control group`
    : `${memory} of memory for each process by rlimits (no control group may be made here)`;
}

/** `4 GiB`, `512 MiB`. */
export function sizeWords(bytes: number): string {
  const mib = bytes / 1024 ** 2;
  return mib >= 1024 ? `${Number((mib / 1024).toFixed(1))} GiB` : `${Number(mib.toFixed(1))} MiB`;
}
