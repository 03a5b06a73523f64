import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tempDir } from '../../../test/support/temp.ts';
import { hasGroups } from '../../../test/support/sandbox.ts';
import { sandboxLimits } from '../../contract/sandbox.ts';
import { makeGroup } from './cgroup.ts';
import { inGroups, limitWords, sizeWords, withRlimits } from './limits.ts';

const MIB = 1024 * 1024;
const limits = sandboxLimits.parse({ max_memory_bytes: 512 * MIB, max_processes: 100, max_file_bytes: 2 * MIB });

describe('a control group', () => {
  test.skipIf(!hasGroups)('bounds what puts itself into it, and is gone when it is removed', async () => {
    const group = makeGroup({ name: `test-${process.pid}`, limits });
    expect(group).not.toBe(null);
    const { folders = [] } = group ?? {};
    const [program = '', ...args] = inGroups(folders, ['/bin/sh', '-c', 'cat /proc/self/cgroup; ulimit -n']);
    const said = execFileSync(program, args, { encoding: 'utf8' });
    expect(said.split('\n').filter((line) => line.endsWith(`/aideator-test-${process.pid}`)).length).toBe(
      folders.length,
    );
    // The same name again: it is another's.
    expect(makeGroup({ name: `test-${process.pid}`, limits })).toBe(null);
    expect(group?.oomKills()).toBe(0);
    await group?.remove();
    expect(folders.filter((folder) => existsSync(folder))).toEqual([]);
  });

  // There are no control groups of version 2 on every machine: what the kernel would answer is played by plain files.
  describe('of version 2', () => {
    const played = (given: string) => {
      const root = tempDir();
      const slice = 'user.slice/user@1000.service/app.slice';
      mkdirSync(join(root, slice, 'terminal.scope'), { recursive: true });
      writeFileSync(join(root, 'cgroup.controllers'), 'memory pids\n');
      writeFileSync(join(root, slice, 'cgroup.subtree_control'), given);
      writeFileSync(join(root, slice, 'cgroup.procs'), '');
      const self = join(root, 'self');
      writeFileSync(self, `0::/${slice}/terminal.scope\n`);
      return { root, self, slice: join(root, slice) };
    };

    test('lies beside the one we are in, which holds processes of its own', () => {
      const { root, self, slice } = played('cpu memory pids\n');
      const group = makeGroup({ name: 'x', limits, root, self });
      expect(group?.folders).toEqual([join(slice, 'aideator-x')]);
      const read = (name: string) => readFileSync(join(slice, 'aideator-x', name), 'utf8');
      expect([read('memory.max'), read('memory.swap.max'), read('memory.oom.group')]).toEqual([
        String(512 * MIB),
        '0',
        '1',
      ]);
      expect(Number(read('pids.max'))).toBeGreaterThan(100);
      writeFileSync(join(slice, 'aideator-x', 'memory.events'), 'low 0\noom 2\noom_kill 1\noom_group_kill 1\n');
      expect(group?.oomKills()).toBe(1);
    });

    test('is none where a controller was not handed down, or nothing may be made', () => {
      const without = played('cpu pids\n');
      expect(makeGroup({ name: 'x', limits, ...without })).toBe(null);
      const notOurs = played('memory pids\n');
      // Processes could not be moved from where we are.
      execFileSync('rm', [join(notOurs.slice, 'cgroup.procs')]);
      expect(makeGroup({ name: 'x', limits, ...notOurs })).toBe(null);
    });
  });

  test('is none where there are no control groups at all', () => {
    const root = tempDir();
    expect(makeGroup({ name: 'x', limits, root, self: join(root, 'self') })).toBe(null);
    rmdirSync(root);
  });
});

describe('rlimits', () => {
  const seen = (grouped: boolean, shell = '/bin/sh'): string => {
    const [, ...args] = withRlimits(limits, grouped, [shell, '-c', 'cat /proc/self/limits', 'sh', 'it’s; $(x)']);
    return execFileSync(shell, args, { encoding: 'utf8' }).replaceAll(/ +/g, ' ');
  };
  const shells = ['/bin/sh', '/bin/bash'].filter((path) => existsSync(path));

  test.each(shells)('are those that are asked for, set by %s', (shell) => {
    const said = seen(false, shell);
    expect(said).toContain(`Max core file size 0 0`);
    expect(said).toContain(`Max open files 8192 8192`);
    expect(said).toContain(`Max data size ${512 * MIB} ${512 * MIB}`);
    expect(said).toContain('Max processes 100 100');
    expect(said).toContain('Max address space unlimited');
    // bash counts in KiB where it is not told to be a POSIX shell; as sh it is.
    if (shell === '/bin/sh') expect(said).toContain(`Max file size ${2 * MIB} ${2 * MIB}`);
  });

  test('leave memory and processes to a control group where there is one', () => {
    expect(seen(true)).toContain('Max data size unlimited');
    expect(seen(true)).not.toContain('Max processes 100');
  });
});

test('which of the two holds is said in words', () => {
  expect(limitWords(limits, true)).toBe('512 MiB of memory and 100 processes by a control group');
  expect(limitWords(limits, false)).toBe(
    '512 MiB of memory for each process by rlimits (no control group may be made here)',
  );
  expect([sizeWords(4096 * MIB), sizeWords(1.5 * 1024 * MIB), sizeWords(300 * MIB)]).toEqual([
    '4 GiB',
    '1.5 GiB',
    '300 MiB',
  ]);
});
