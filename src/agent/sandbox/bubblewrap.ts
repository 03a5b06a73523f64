import type { SandboxLimits } from '../../contract/sandbox.ts';
import { mountsOf, type View } from './mounts.ts';

/** The host's name inside. */
export const HOSTNAME = 'aideator';
/** Who a server's root is inside: programs that refuse to run as root, or as root would change owners, behave as everywhere. */
const NOBODY_SPECIAL = 1000;

export interface BubblewrapOptions {
  view: View;
  cwd: string;
  /** Of whoever runs the server. */
  user: { uid: number; gid: number };
  limits: Pick<SandboxLimits, 'max_tmp_bytes'>;
  /** File descriptors of bubblewrap's: it reads its filter from one, and tells its child's process id on the other. */
  fds: { seccomp: number; info: number };
  /** What of /proc outside root could change, as far as it is there: see {@link PROC}. */
  proc: readonly string[];
  command: readonly string[];
}

/**
 * What in /proc is the whole machine's. A namespace does not keep it: with the server's root outside, a program inside owns these
 * files, and /proc/sys/kernel/core_pattern names a program that the kernel runs as root. bubblewrap covers some of them, where it
 * thinks they could be written, and not /proc/sys.
 */
export const PROC = ['sys', 'sysrq-trigger', 'irq', 'bus', 'fs', 'acpi', 'scsi', 'mtrr'].map((name) => `/proc/${name}`);

/** The user that a sandbox's processes are inside; outside they are the server's own. */
export function insideUser({ uid, gid }: BubblewrapOptions['user']): { uid: number; gid: number } {
  return uid === 0 ? { uid: NOBODY_SPECIAL, gid: NOBODY_SPECIAL } : { uid, gid };
}

/**
 * bubblewrap's arguments (0.7 or newer, for `--size`). Nothing of the environment: bubblewrap passes on its own, which is the agent's.
 *
 * Every namespace is a new one: processes, network (loopback alone), IPC, hostname, cgroup, user. All of it dies with the recorder,
 * and with its first process. What can be written is the workspace, HOME, TMPDIR, and /tmp and /dev/shm of a fixed size.
 */
export function bubblewrapArguments(options: BubblewrapOptions): string[] {
  const { view, limits, fds } = options;
  const { uid, gid } = insideUser(options.user);
  const size = String(limits.max_tmp_bytes);
  const mounts = mountsOf(view);
  return [
    ...['--unshare-all', '--die-with-parent', '--new-session'],
    ...['--uid', String(uid), '--gid', String(gid), '--hostname', HOSTNAME, '--cap-drop', 'ALL'],
    ...['--proc', '/proc', ...options.proc.flatMap((path) => ['--ro-bind', path, path])],
    ...['--dev', '/dev', '--size', size, '--perms', '1777', '--tmpfs', '/dev/shm', '--remount-ro', '/dev'],
    ...['--size', size, '--perms', '1777', '--tmpfs', '/tmp'],
    ...mounts.flatMap((mount) => {
      switch (mount.kind) {
        case 'read':
          return ['--ro-bind', mount.source, mount.path];
        case 'write':
          return ['--bind', mount.path, mount.path];
        case 'link':
          return ['--symlink', mount.target, mount.path];
        case 'empty':
          return ['--tmpfs', mount.path];
      }
    }),
    // The folders on the way to what is mounted are memory of no fixed size.
    ...mounts.filter(({ kind }) => kind === 'empty').flatMap(({ path }) => ['--remount-ro', path]),
    ...['--remount-ro', '/'],
    ...['--chdir', options.cwd, '--seccomp', String(fds.seccomp), '--info-fd', String(fds.info)],
    ...['--', ...options.command],
  ];
}
