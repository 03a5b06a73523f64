import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { assemble } from './bpf.ts';
import { CHECKED, NEW_NAMESPACE, REFUSED } from './refused-calls.ts';
import { hasFilter, seccompFilter } from './seccomp.ts';

const ALLOW = 'allow';
const EPERM = 'errno 1';

/** Runs a filter as a kernel does, over `struct seccomp_data`; fails on a program that runs past its end. */
function verdict(program: Buffer, data: { arch: number; nr: number; args?: bigint[] }): string {
  const seen = Buffer.alloc(64);
  seen.writeUInt32LE(data.nr >>> 0, 0);
  seen.writeUInt32LE(data.arch, 4);
  data.args?.forEach((each, index) => seen.writeBigUInt64LE(each, 16 + index * 8));
  let value = 0;
  for (let at = 0; at < program.length; at += 8) {
    const [op, yes, no, k] = [
      program.readUInt16LE(at),
      program.readUInt8(at + 2),
      program.readUInt8(at + 3),
      program.readUInt32LE(at + 4),
    ];
    const jump = (holds: boolean): void => void (at += 8 * (holds ? yes : no));
    if (op === 0x20) value = seen.readUInt32LE(k);
    else if (op === 0x15) jump(value === k);
    else if (op === 0x35) jump(value >= k);
    else if (op === 0x45) jump((value & k) !== 0);
    else if (op === 0x06) {
      if (k === 0x7fff0000) return ALLOW;
      return k === 0x80000000 ? 'kill' : `errno ${k & 0xffff}`;
    } else throw new Error(`unknown code ${op}`);
  }
  throw new Error('past the end');
}

describe.each([
  { node: 'x64', calls: 'x86_64', arch: 0xc000003e },
  { node: 'arm64', calls: 'aarch64', arch: 0xc00000b7 },
] as const)('the filter for $node', ({ node, calls, arch }) => {
  const program = seccompFilter(node);
  const ask = (nr: number, ...args: (number | bigint)[]): string =>
    verdict(program, { arch, nr, args: args.map(BigInt) });

  test('refuses each call on its list and lets all others be', () => {
    const special = new Set<number>(Object.values(CHECKED).map((each) => each[calls]));
    const refused = new Set(REFUSED.map((each) => each[calls]));
    const plain = Array.from({ length: 600 }, (_, nr) => nr).filter((nr) => !special.has(nr));
    expect(plain.map((nr) => ask(nr))).toEqual(plain.map((nr) => (refused.has(nr) ? EPERM : ALLOW)));
  });

  test('looks at the flags of clone and unshare, and leaves clone3 to be asked again as clone', () => {
    // CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID, as a thread is made.
    expect(ask(CHECKED.clone[calls], 0x003d0f00)).toBe(ALLOW);
    expect(ask(CHECKED.clone[calls], 17)).toBe(ALLOW);
    for (let bit = 0; bit < 32; bit += 1) {
      const flag = 2 ** bit;
      const isNew = (NEW_NAMESPACE & flag) !== 0;
      expect([bit, ask(CHECKED.clone[calls], flag)]).toEqual([bit, isNew ? EPERM : ALLOW]);
      expect([bit, ask(CHECKED.unshare[calls], flag)]).toEqual([bit, isNew || flag === 0x80 ? EPERM : ALLOW]);
    }
    expect(ask(CHECKED.clone3[calls])).toBe('errno 38');
  });

  test('looks at the command of ioctl as the kernel does: its low half', () => {
    expect(ask(CHECKED.ioctl[calls], 0, 0x5401)).toBe(ALLOW);
    for (const command of [0x5412, 0x541c]) {
      expect(ask(CHECKED.ioctl[calls], 0, command)).toBe(EPERM);
      expect(ask(CHECKED.ioctl[calls], 0, (0xffffn << 32n) | BigInt(command))).toBe(EPERM);
      expect(ask(CHECKED.ioctl[calls], command, 0)).toBe(ALLOW);
    }
  });

  test('has sockets of four families', () => {
    const allowed = Array.from({ length: 64 }, (_, family) => family).filter(
      (family) => ask(CHECKED.socket[calls], family) === ALLOW,
    );
    expect(allowed).toEqual([1, 2, 10, 16]);
    expect(ask(CHECKED.socket[calls], 40)).toBe('errno 97');
  });

  test('ends a process that calls as another architecture', () => {
    expect(verdict(program, { arch: 0x40000003, nr: 1 })).toBe('kill');
    expect(verdict(program, { arch: arch + 1, nr: CHECKED.socket[calls] })).toBe('kill');
  });
});

test('numbers of x32 are not known', () => {
  const arch = 0xc000003e;
  expect(verdict(seccompFilter('x64'), { arch, nr: 0x40000000 | 101 })).toBe('errno 38');
  expect(verdict(seccompFilter('x64'), { arch, nr: 0x3fffffff })).toBe(ALLOW);
});

test('there are filters for two architectures', () => {
  expect(['x64', 'arm64', 'ia32', 'toString'].map(hasFilter)).toEqual([true, true, false, false]);
});

test('the assembler refuses what a kernel would not load', () => {
  expect(() => assemble([{ if: 'equal', value: 1, to: 'nowhere' }, { answer: 'allow' }])).toThrow(
    /no label nowhere ahead/,
  );
  expect(() => assemble([{ label: 'back' }, { if: 'equal', value: 1, to: 'back' }])).toThrow(/no label back ahead/);
  const far = Array.from({ length: 256 }, () => ({ load: 0 }));
  expect(() => assemble([{ if: 'equal', value: 1, to: 'far' }, ...far, { label: 'far' }, { answer: 'kill' }])).toThrow(
    /256 instructions away/,
  );
});

const headers = {
  x86_64: '/usr/include/x86_64-linux-gnu/asm/unistd_64.h',
  aarch64: '/usr/include/asm-generic/unistd.h',
};
test.skipIf(!Object.values(headers).every((path) => existsSync(path)))(
  'its numbers are those of the kernel’s own headers',
  () => {
    for (const [arch, path] of Object.entries(headers) as ['x86_64' | 'aarch64', string][]) {
      const text = readFileSync(path, 'utf8');
      const known = new Map(
        [...text.matchAll(/^#define __NR(?:3264)?_(\w+)\s+(\d+)$/gm)].map(([, name = '', nr]) => [name, Number(nr)]),
      );
      const wrong = [...REFUSED, ...Object.entries(CHECKED).map(([name, numbers]) => ({ name, ...numbers }))].filter(
        (each) => known.has(each.name) && known.get(each.name) !== each[arch],
      );
      expect(wrong).toEqual([]);
      expect(REFUSED.filter(({ name }) => known.has(name)).length).toBeGreaterThan(35);
    }
  },
);
