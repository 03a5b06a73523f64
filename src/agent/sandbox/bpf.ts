/**
 * A small assembler for classic BPF as seccomp reads it: instructions with labels in, bytes out.
 * Codes and layout: linux/bpf_common.h, linux/filter.h (`struct sock_filter`), seccomp(2).
 */

/** What a filter answers: SECCOMP_RET_* of linux/seccomp.h. */
export type Verdict = 'allow' | 'kill' | { errno: number };

export type Instruction =
  /** Loads 32 bits of `struct seccomp_data` from this offset. */
  | { load: number }
  /** Keeps these bits of what was loaded. */
  | { and: number }
  /** Goes to a label where the test holds; goes on where it does not. */
  | { if: 'equal' | 'atLeast' | 'anyBit'; value: number; to: string }
  | { label: string }
  | { answer: Verdict };

const BPF_LD_W_ABS = 0x20;
const BPF_ALU_AND_K = 0x54;
const BPF_JMP_K = { equal: 0x15, atLeast: 0x35, anyBit: 0x45 } as const;
const BPF_RET_K = 0x06;
const RET_ALLOW = 0x7fff_0000;
const RET_KILL_PROCESS = 0x8000_0000;
const RET_ERRNO = 0x0005_0000;

/** The most a kernel takes (BPF_MAXINSNS). */
const MAX_INSTRUCTIONS = 4096;

/**
 * Assembles a program: 8 bytes an instruction, little endian as on x86_64 and aarch64. Errors: a label that is missing or behind, or
 * farther than a jump can reach (255 instructions).
 */
export function assemble(program: readonly Instruction[]): Buffer {
  const labels = new Map<string, number>();
  const code: Exclude<Instruction, { label: string }>[] = [];
  for (const each of program) {
    if ('label' in each) labels.set(each.label, code.length);
    else code.push(each);
  }
  if (code.length > MAX_INSTRUCTIONS) throw new Error(`A filter may have ${MAX_INSTRUCTIONS} instructions.`);
  const bytes = Buffer.alloc(code.length * 8);
  code.forEach((each, at) => {
    const { op, k, jump } = encode(each);
    bytes.writeUInt16LE(op, at * 8);
    if (jump !== null) bytes.writeUInt8(distance(labels, jump, at), at * 8 + 2);
    bytes.writeUInt32LE(k >>> 0, at * 8 + 4);
  });
  return bytes;
}

function encode(each: Exclude<Instruction, { label: string }>): { op: number; k: number; jump: string | null } {
  if ('load' in each) return { op: BPF_LD_W_ABS, k: each.load, jump: null };
  if ('and' in each) return { op: BPF_ALU_AND_K, k: each.and, jump: null };
  if ('answer' in each) return { op: BPF_RET_K, k: verdictCode(each.answer), jump: null };
  return { op: BPF_JMP_K[each.if], k: each.value, jump: each.to };
}

function verdictCode(verdict: Verdict): number {
  if (verdict === 'allow') return RET_ALLOW;
  return verdict === 'kill' ? RET_KILL_PROCESS : RET_ERRNO | (verdict.errno & 0xffff);
}

function distance(labels: ReadonlyMap<string, number>, label: string, at: number): number {
  const target = labels.get(label);
  if (target === undefined || target <= at) throw new Error(`There is no label ${label} ahead.`);
  const steps = target - at - 1;
  if (steps > 255) throw new Error(`The label ${label} is ${steps} instructions away: 255 can be jumped.`);
  return steps;
}
