import { assemble, type Instruction, type Verdict } from './bpf.ts';
import {
  CHECKED,
  NEW_NAMESPACE,
  NEW_TIME,
  REFUSED,
  REFUSED_IOCTLS,
  SOCKET_FAMILIES,
  type RefusedCall,
} from './refused-calls.ts';

/** Architectures there is a filter for, by Node's names: AUDIT_ARCH_* of linux/audit.h. */
const ARCHITECTURES = {
  x64: { calls: 'x86_64', audit: 0xc000_003e },
  arm64: { calls: 'aarch64', audit: 0xc000_00b7 },
} as const;
export type Architecture = keyof typeof ARCHITECTURES;

/** Offsets in `struct seccomp_data`. Of an argument the kernel itself reads the low half only, in each call that is looked into here. */
const NUMBER = 0;
const AUDIT_ARCH = 4;
const FIRST_ARGUMENT = 16;
const SECOND_ARGUMENT = 24;
/** x86_64 only: the same kernel by numbers of their own (asm/unistd.h). */
const X32 = 0x4000_0000;

const EPERM: Verdict = { errno: 1 };
const ENOSYS: Verdict = { errno: 38 };
const EAFNOSUPPORT: Verdict = { errno: 97 };

/** Whether there is a filter for the architecture: a value of `process.arch`. */
export function hasFilter(arch: string): arch is Architecture {
  return Object.hasOwn(ARCHITECTURES, arch);
}

/**
 * The seccomp filter of a sandbox, as bubblewrap's `--seccomp` takes it. A list of what is refused: an agent runs compilers, browsers
 * and databases, and a list of what is allowed would break one of them with every new kernel.
 *
 * - Another architecture's calls (32-bit programs) have other numbers: they end the process.
 * - `clone3` has its flags in memory, where no filter can look: ENOSYS, and every libc takes `clone`.
 */
export function seccompFilter(arch: Architecture): Buffer {
  const { calls, audit } = ARCHITECTURES[arch];
  const number = (call: Pick<RefusedCall, 'x86_64' | 'aarch64'>): number | null => call[calls];
  const refused = REFUSED.map(number).filter((each) => each !== null);
  const program: Instruction[] = [
    { load: AUDIT_ARCH },
    { if: 'equal', value: audit, to: 'native' },
    { answer: 'kill' },
    { label: 'native' },
    { load: NUMBER },
    ...(arch === 'x64' ? [jump('atLeast', X32, 'unknown')] : []),
    ...Object.entries(CHECKED).map(([name, call]) => jump('equal', call[calls], name)),
    ...refused.map((each) => jump('equal', each, 'refused')),
    { answer: 'allow' },

    { label: 'clone' },
    { load: FIRST_ARGUMENT },
    jump('anyBit', NEW_NAMESPACE, 'refused'),
    { answer: 'allow' },

    { label: 'unshare' },
    { load: FIRST_ARGUMENT },
    jump('anyBit', NEW_NAMESPACE | NEW_TIME, 'refused'),
    { answer: 'allow' },

    { label: 'ioctl' },
    { load: SECOND_ARGUMENT },
    ...REFUSED_IOCTLS.map((each) => jump('equal', each, 'refused')),
    { answer: 'allow' },

    { label: 'socket' },
    { load: FIRST_ARGUMENT },
    ...SOCKET_FAMILIES.map((each) => jump('equal', each, 'allowed')),
    { answer: EAFNOSUPPORT },

    { label: 'allowed' },
    { answer: 'allow' },
    { label: 'refused' },
    { answer: EPERM },
    { label: 'clone3' },
    { label: 'unknown' },
    { answer: ENOSYS },
  ];
  return assemble(program);
}

function jump(test: 'equal' | 'atLeast' | 'anyBit', value: number, to: string): Instruction {
  return { if: test, value, to };
}
