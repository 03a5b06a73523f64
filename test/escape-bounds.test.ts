import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { removeGroup } from '../src/agent/sandbox/cgroup.ts';
import { groupsOf, hostile, LIMITS, MIB, NOTHING_CHANGED, outcome, quick, running } from './support/hostile.ts';
import { prepareAttempt } from './support/recorded.ts';
import { hasGroups, noSandbox } from './support/sandbox.ts';
import { until } from './support/until.ts';

/** What a hostile agent takes of the machine, and what it leaves running: bounded, and nothing. */

const isRoot = process.getuid?.() === 0;

describe.skipIf(noSandbox !== null)('what an agent in the sandbox takes is bounded', () => {
  test('room: /tmp, /dev/shm, open files, one file; no core dumps', async () => {
    const limits = { max_tmp_bytes: 16 * MIB, max_open_files: 512, max_file_bytes: 8 * MIB };
    const attacks = {
      'fill /tmp': '/tmp',
      'fill shared memory': '/dev/shm',
      'open-many files': '10000',
      'shell one large file': 'head -c 20000000 /dev/zero > "$TMPDIR/large"',
      'shell core dumps': 'ulimit -c',
    };
    const { outcomes, eof } = await outcome(hostile(attacks, { limits: { ...LIMITS, ...limits } }));
    expect(outcomes['fill /tmp']).toMatch(/^refused ENOSPC after 1[5-6] MiB/);
    expect(outcomes['fill shared memory']).toMatch(/^refused ENOSPC after 1[5-6] MiB/);
    expect(outcomes['open-many files']).toMatch(/^refused EMFILE after 4\d\d/);
    expect(outcomes['shell one large file']).toMatch(/^refused (SIGXFSZ|\d+:.*File (size limit|too large))/);
    expect(outcomes['shell core dumps']).toBe('reached 0');
    expect([eof.reason, eof.message]).toEqual(NOTHING_CHANGED);
  });

  test.skipIf(isRoot && !hasGroups)('processes: a fork bomb ends at the limit, and with the attempt', async () => {
    const seconds = `${7_000_000 + process.pid}`;
    const { outcomes, eof } = await outcome(
      hostile({ 'fork-bomb': `400:${seconds}` }, { limits: { ...LIMITS, max_processes: 128 } }),
    );
    expect(outcomes['fork-bomb']).toMatch(/^refused EAGAIN after \d+/);
    expect([eof.reason, eof.message]).toEqual(NOTHING_CHANGED);
    expect(running(`sleep ${seconds}`)).toEqual([]);
  });

  test.skipIf(!hasGroups)(
    'memory: who takes more is ended, with the reason; what it had said and done is kept',
    async () => {
      const attempt = prepareAttempt({
        agent: ['hog'],
        sandbox: { limits: { ...LIMITS, max_memory_bytes: 256 * MIB } },
      });
      const { eof, said, result, notes } = await attempt.run({ graces: quick });
      expect(eof.reason).toBe('oom_killed');
      expect(eof.message).toContain('needed more than the 256 MiB of memory that an attempt may have');
      expect(said).toContain('before 19');
      expect(result?.files.map(({ path }) => path)).toEqual(['before.txt']);
      expect(notes).toContain('oom_killed');
      expect(groupsOf(attempt)).toEqual([]);
    },
  );
});

describe.skipIf(noSandbox !== null)('with an attempt in the sandbox ends everything it has started', () => {
  test('what forked away, in a session of its own and with no environment, is found dead and counted', async () => {
    const seconds = `${8_000_000 + process.pid}`;
    const attack = { 'double-fork': seconds };
    const inside = await outcome(hostile(attack, {}));
    expect(inside.outcomes).toEqual({ 'double-fork': 'reached started' });
    expect(running(`sleep ${seconds}`)).toEqual([]);
    expect(
      inside.of<{ code: string; count?: number }>('note').find(({ code }) => code === 'stragglers_killed')?.count,
    ).toBe(1);
    expect([inside.eof.reason, inside.eof.exit]).toEqual(['no_changes', { code: 0, signal: null }]);

    // Without a sandbox it lives on, and nobody knows.
    const outside = await outcome(hostile(attack));
    const left = running(`sleep ${seconds}`);
    for (const pid of left) process.kill(pid, 'SIGKILL');
    expect(left.length).toBe(1);
    expect(outside.notes).not.toContain('stragglers_killed');
  });

  test('an agent that kills what is beside it in the sandbox ends itself', async () => {
    const { eof, notes } = await outcome(hostile({ 'kill-parent': 'SIGKILL' }, {}));
    expect([eof.reason, eof.exit]).toEqual(['agent_exit', { code: null, signal: 'SIGKILL' }]);
    expect(notes).toContain('agent_exit');
  });

  test('one that stops it is ended all the same', async () => {
    const seconds = `${9_000_000 + process.pid}`;
    const attempt = hostile({ 'double-fork': seconds, 'kill-parent': 'SIGSTOP' }, {});
    const { eof } = await outcome(attempt);
    expect(eof.reason).toBe('no_changes');
    expect(running(`sleep ${seconds}`)).toEqual([]);
    expect(groupsOf(attempt)).toEqual([]);
  });

  test('when its recorder is killed', async () => {
    const attempt = prepareAttempt({ agent: ['stubborn'], sandbox: {} });
    const main = join(import.meta.dirname, '..', 'src', 'agent', 'recorder-main.ts');
    const recorder = spawn(process.execPath, [main, attempt.directory], { stdio: 'ignore' });
    onTestFinished(() => void recorder.kill('SIGKILL'));
    const agents = (): number[] => running(join(attempt.directory, 'workspace'));
    const journal = join(attempt.directory, 'journal.ndjson');
    await until(() => readFileSync(journal, 'utf8').includes('staying'), 30_000);
    expect(agents().length).toBeGreaterThan(0);
    recorder.kill('SIGKILL');
    await until(() => agents().length === 0, 10_000);
    // Whoever finds the attempt lost removes what it ran in.
    await removeGroup(attempt.spec.attempt_id);
    expect(groupsOf(attempt)).toEqual([]);
  });
});
