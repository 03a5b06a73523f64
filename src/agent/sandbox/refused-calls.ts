/**
 * System calls that an agent has no use for, each with its reason. Numbers: arch/x86/entry/syscalls/syscall_64.tbl and
 * include/uapi/asm-generic/unistd.h of Linux (aarch64 has the latter).
 */
export interface RefusedCall {
  name: string;
  /** null where the architecture does not have it. */
  x86_64: number;
  aarch64: number | null;
  reason: string;
}

const INSPECT = 'reads or writes other processes: the init beside the agent holds its way to the models';
const MOUNT = 'changes what is seen of the file system';
const KEYS = 'kernel keyrings are shared by all processes of the user, outside as well';
const KERNEL = 'is for whoever runs the machine';
const SURFACE = 'has let programs out of sandboxes again and again, and no agent needs it';
const CLOCK = 'sets the machine’s clock';

const call = (name: string, x86_64: number, aarch64: number | null, reason: string): RefusedCall => ({
  name,
  x86_64,
  aarch64,
  reason,
});

/** Answered with EPERM, whatever their arguments. */
export const REFUSED: readonly RefusedCall[] = [
  call('ptrace', 101, 117, INSPECT),
  call('process_vm_readv', 310, 270, INSPECT),
  call('process_vm_writev', 311, 271, INSPECT),
  call('kcmp', 312, 272, INSPECT),
  call('pidfd_getfd', 438, 438, INSPECT),
  call('mount', 165, 40, MOUNT),
  call('umount2', 166, 39, MOUNT),
  call('pivot_root', 155, 41, MOUNT),
  call('open_tree', 428, 428, MOUNT),
  call('move_mount', 429, 429, MOUNT),
  call('fsopen', 430, 430, MOUNT),
  call('fsconfig', 431, 431, MOUNT),
  call('fsmount', 432, 432, MOUNT),
  call('fspick', 433, 433, MOUNT),
  call('mount_setattr', 442, 442, MOUNT),
  call('open_tree_attr', 467, 467, MOUNT),
  call('setns', 308, 268, 'enters the namespaces of other processes'),
  call('open_by_handle_at', 304, 265, 'opens files by number, past every folder that is not shown'),
  call('add_key', 248, 217, KEYS),
  call('request_key', 249, 218, KEYS),
  call('keyctl', 250, 219, KEYS),
  call('bpf', 321, 280, SURFACE),
  call('perf_event_open', 298, 241, SURFACE),
  call('userfaultfd', 323, 282, SURFACE),
  call('io_uring_setup', 425, 425, `${SURFACE}; and what it does passes no filter`),
  call('io_uring_enter', 426, 426, SURFACE),
  call('io_uring_register', 427, 427, SURFACE),
  call('kexec_load', 246, 104, KERNEL),
  call('kexec_file_load', 320, 294, KERNEL),
  call('init_module', 175, 105, KERNEL),
  call('finit_module', 313, 273, KERNEL),
  call('delete_module', 176, 106, KERNEL),
  call('reboot', 169, 142, KERNEL),
  call('swapon', 167, 224, KERNEL),
  call('swapoff', 168, 225, KERNEL),
  call('acct', 163, 89, KERNEL),
  call('syslog', 103, 116, KERNEL),
  call('quotactl', 179, 60, KERNEL),
  call('quotactl_fd', 443, 443, KERNEL),
  call('lookup_dcookie', 212, 18, KERNEL),
  call('vhangup', 153, 58, KERNEL),
  call('iopl', 172, null, KERNEL),
  call('ioperm', 173, null, KERNEL),
  call('settimeofday', 164, 170, CLOCK),
  call('clock_settime', 227, 112, CLOCK),
  call('clock_adjtime', 305, 266, CLOCK),
];

/** Calls that are looked into: refused or not by an argument. */
export const CHECKED = {
  clone: { x86_64: 56, aarch64: 220 },
  clone3: { x86_64: 435, aarch64: 435 },
  unshare: { x86_64: 272, aarch64: 97 },
  ioctl: { x86_64: 16, aarch64: 29 },
  socket: { x86_64: 41, aarch64: 198 },
} as const;

/**
 * All flags that make a namespace (linux/sched.h), NEWTIME left out: in clone it would be a part of the signal's number, and it
 * needs a user namespace. With one of its own, an agent had every capability again, in all of the kernel that checks for them there.
 */
export const NEW_NAMESPACE = 0x7e02_0000;
/** The flag of unshare alone. */
export const NEW_TIME = 0x80;

/** ioctls that put words into a terminal as if they had been typed: TIOCSTI, and TIOCLINUX on a console (asm-generic/ioctls.h). */
export const REFUSED_IOCTLS = [0x5412, 0x541c] as const;

/**
 * Families of sockets that stay inside: Unix, IPv4, IPv6, netlink (how programs ask for their addresses). Any other may lead out of
 * the network namespace (vsock to the machine's host), or to code that no agent needs (linux/socket.h).
 */
export const SOCKET_FAMILIES = [1, 2, 10, 16] as const;
