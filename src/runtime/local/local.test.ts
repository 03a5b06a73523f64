import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { findStragglers, startTimeOf } from '../../agent/process-identity.ts';
import { NO_SANDBOX } from '../../contract/sandbox.ts';
import type { AttemptSpec } from '../../contract/attempt.ts';
import { newAttemptId } from '../../contract/ids.ts';
import { defaultLimits } from '../../contract/run.ts';
import { noPrints } from '../../contract/secrets.ts';
import { git, makeAttempt } from '../../../test/support/attempt.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';
import type { AttemptEnd, Batch, Runtime } from '../runtime.ts';
import { createLauncher, type Launcher, type LauncherOptions } from './launcher.ts';
import { createLocalRuntime, type LocalRuntimeOptions } from './local.ts';

/** The runtime with real recorders and agents, and a house that only writes down what it is told. */

interface Told {
  handle: string | null;
  batches: Batch[];
  ends: AttemptEnd[];
  transport: string[];
}

const ACP_AGENT = join(import.meta.dirname, '..', '..', '..', 'test', 'support', 'acp-agent.ts');

function launcherOf(more: Partial<LauncherOptions> = {}): Launcher {
  const launcher = createLauncher({
    recorder: join(import.meta.dirname, '..', '..', 'agent', 'recorder-main.ts'),
    node: process.execPath,
    env: { PATH: process.env['PATH'] ?? '' },
    // Tests that do not ask for one have none ready.
    spareAfterMs: 3_600_000,
    ...more,
  });
  onTestFinished(() => launcher.close());
  return launcher;
}

function runtimeOn(directory: string, more: Partial<LocalRuntimeOptions> = {}): { runtime: Runtime; told: Told } {
  const told: Told = { handle: null, batches: [], ends: [], transport: [] };
  const runtime = createLocalRuntime({
    directory,
    git,
    launcher: launcherOf(),
    events: {
      started: (_attempt, handle) => {
        told.handle = handle;
        return Promise.resolve();
      },
      batch: (_attempt, batch) => {
        told.batches.push(batch);
        return Promise.resolve();
      },
      waiting: () => Promise.resolve(),
      transport: (_attempt, message) => told.transport.push(message),
      ended: (_attempt, end) => {
        told.ends.push(end);
        return Promise.resolve();
      },
    },
    ...more,
  });
  onTestFinished(() => runtime.close());
  return { runtime, told };
}

async function specOf(...behaviour: string[]): Promise<AttemptSpec> {
  const { source, base } = await makeAttempt({ 'a.txt': 'a\n' });
  return {
    v: 1,
    run_id: 'run',
    variation_id: 0,
    attempt: 0,
    attempt_id: newAttemptId(),
    prompt: 'Do it.',
    agent: {
      name: 'test',
      command: ['{node}', ACP_AGENT, ...behaviour],
      env: {},
      mode: null,
      image: null,
      files: {},
      read_paths: [],
    },
    sandbox: NO_SANDBOX,
    egress: false,
    work: null,
    secrets: noPrints,
    model: 'scripted/any',
    dialect: 'anthropic',
    door: { socket: '/nowhere/door.sock', token: 'at_x' },
    repository: { source, base },
    limits: defaultLimits,
  };
}

const quietly = (): Promise<void> => Promise.resolve();
const seqs = (told: Told) => told.batches.flatMap((batch) => batch.envelopes.map((envelope) => envelope.seq));
const dense = (length: number) => Array.from({ length }, (_, index) => index + 1);
const spoke = (told: Told) => told.batches.some((batch) => batch.envelopes.some((each) => each.type === 'acp'));

describe('an attempt', () => {
  it('is started, followed to its last word, and leaves nothing', async () => {
    const directory = tempDir();
    const { runtime, told } = runtimeOn(directory);
    const spec = await specOf('echo', '20');
    await runtime.start(spec);
    await until(() => told.ends.length > 0);
    expect(told.ends[0]).toMatchObject({ kind: 'eof', complete: true, eof: { reason: 'no_changes' } });
    expect(seqs(told)).toEqual(dense(seqs(told).length));
    expect(existsSync(runtime.patchFile(spec.attempt_id))).toBe(true);
    expect(await runtime.orphans(new Set([spec.attempt_id]))).toEqual([]);
    expect(await runtime.orphans(new Set())).toEqual([spec.attempt_id]);
    await runtime.remove(spec.attempt_id, 'now');
    expect(readdirSync(directory)).toEqual([]);
  });

  it('that cannot be started says why', async () => {
    const { runtime } = runtimeOn(tempDir(), { launcher: launcherOf({ node: '/no/such/node' }) });
    await expect(runtime.start(await specOf('echo'))).rejects.toMatchObject({ code: 'attempt_start_failed' });
  });

  it('is not left running where its start could not be written down', async () => {
    const directory = tempDir();
    const spec = await specOf('linger');
    const { runtime } = runtimeOn(directory, {
      events: {
        started: () => Promise.reject(new Error('the disk is full')),
        batch: () => Promise.resolve(),
        waiting: () => Promise.resolve(),
        transport: () => undefined,
        ended: () => Promise.resolve(),
      },
    });
    await expect(runtime.start(spec)).rejects.toThrow('the disk is full');
    await until(() => findStragglers(spec.attempt_id).length === 0);
  });

  it('is lost where what it says cannot be stored, and does not go on', async () => {
    const spec = await specOf('linger');
    const ends: AttemptEnd[] = [];
    const { runtime } = runtimeOn(tempDir(), {
      events: {
        started: () => Promise.resolve(),
        batch: () => Promise.reject(new Error('no room')),
        waiting: () => Promise.resolve(),
        transport: () => undefined,
        ended: (_attempt, end) => {
          ends.push(end);
          return Promise.resolve();
        },
      },
    });
    await runtime.start(spec);
    await until(() => ends.length > 0);
    expect(ends[0]).toMatchObject({ kind: 'lost', message: 'Its journal could not be followed: no room' });
    await until(() => findStragglers(spec.attempt_id).length === 0);
  });

  it('is stopped with the reason it is given, once, however often it is told', async () => {
    const { runtime, told } = runtimeOn(tempDir());
    const spec = await specOf('linger');
    await runtime.start(spec);
    await until(() => spoke(told));
    await Promise.all([runtime.stop(spec.attempt_id, 'superseded'), runtime.stop(spec.attempt_id, 'superseded')]);
    await until(() => told.ends.length > 0);
    await runtime.stop(spec.attempt_id, 'cancelled');
    expect(told.ends).toMatchObject([{ kind: 'eof', eof: { reason: 'superseded' } }]);
    expect(findStragglers(spec.attempt_id)).toEqual([]);
  });

  it('whose recorder does not stop is killed, after its grace', async () => {
    const { runtime, told } = runtimeOn(tempDir(), { stopGraceMs: 300 });
    const spec = await specOf('linger');
    await runtime.start(spec);
    await until(() => spoke(told));
    const { pid } = JSON.parse(told.handle ?? '') as { pid: number };
    process.kill(pid, 'SIGSTOP');
    await runtime.stop(spec.attempt_id, 'cancelled');
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'lost' }]);
    expect(startTimeOf(pid)).toBeNull();
    expect(findStragglers(spec.attempt_id)).toEqual([]);
  });
});

describe('a recorder that was kept ready', () => {
  it('takes the next attempt like any other, and ends with the launcher when there is none', async () => {
    const launcher = launcherOf({ spareAfterMs: 1 });
    const { runtime, told } = runtimeOn(tempDir(), { launcher });
    const spares = () => spareProcesses(process.pid);
    await until(() => spares().length === 1);
    const [spare = 0] = spares();
    const spec = await specOf('echo');
    await runtime.start(spec);
    expect(JSON.parse(told.handle ?? '')).toMatchObject({ pid: spare });
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'eof', complete: true }]);
    await until(() => spares().length === 1);
    const [next = 0] = spares();
    expect(next).not.toBe(spare);
    process.kill(next, 'SIGKILL');
    await until(() => spares().length === 0);
    // One that died while it waited is not used.
    await runtime.start(await specOf('echo'));
    await until(() => told.ends.length > 1);
    expect(told.ends[1]).toMatchObject({ kind: 'eof', complete: true });
    await until(() => spares().length === 1);
    await runtime.close();
    await until(() => spares().length === 0);
  });
});

describe('a new server', () => {
  /** Starts an attempt, and lets its server go when it has spoken. */
  async function leave(directory: string, ...behaviour: string[]) {
    const { runtime, told } = runtimeOn(directory);
    const spec = await specOf(...behaviour);
    await runtime.start(spec);
    await until(() => spoke(told));
    await runtime.close();
    return {
      spec,
      told,
      ref: {
        attemptId: spec.attempt_id,
        runId: 'r',
        variation: 0,
        attempt: 0,
        handle: told.handle,
        lastSeq: seqs(told).at(-1) ?? 0,
      },
    };
  }

  it('finds an attempt that runs, and what comes after what was stored', async () => {
    const directory = tempDir();
    const { spec, told: before, ref } = await leave(directory, 'linger');
    const { runtime, told } = runtimeOn(directory);
    expect(await runtime.adopt(ref, quietly)).toBe('running');
    await runtime.stop(spec.attempt_id, 'cancelled');
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'eof', complete: true, eof: { reason: 'cancelled' } }]);
    expect([...seqs(before), ...seqs(told)]).toEqual(dense(seqs(before).length + seqs(told).length));
  });

  it('finds one that ended meanwhile, also where the server died before it knew the process', async () => {
    const directory = tempDir();
    const { told: before, ref } = await leave(directory, 'echo', '3');
    const journal = join(directory, ref.attemptId, 'journal.ndjson');
    await until(() => readFileSync(journal, 'utf8').includes('"type":"eof"'));
    const { pid } = JSON.parse(before.handle ?? '') as { pid: number };
    await until(() => startTimeOf(pid) === null);
    const first = runtimeOn(directory);
    expect(await first.runtime.adopt(ref, quietly)).toBe('finished');
    await until(() => first.told.ends.length > 0);
    expect(first.told.ends).toMatchObject([{ kind: 'eof', complete: true }]);
    const second = runtimeOn(directory);
    expect(await second.runtime.adopt({ ...ref, handle: null, lastSeq: 0 }, quietly)).toBe('finished');
    await until(() => second.told.ends.length > 0);
    expect(seqs(second.told)).toEqual(dense(seqs(second.told).length));
  });

  it('finds one that is lost, kills what it left running, and saves its work', async () => {
    const directory = tempDir();
    const { spec, told: before, ref } = await leave(directory, 'linger');
    const { pid } = JSON.parse(before.handle ?? '') as { pid: number };
    process.kill(pid, 'SIGKILL');
    await until(() => startTimeOf(pid) === null);
    writeFileSync(join(directory, spec.attempt_id, 'workspace', 'work.txt'), 'half an hour of it\n');
    const { runtime, told } = runtimeOn(directory);
    expect(await runtime.adopt(ref, quietly)).toBe('lost');
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'lost' }]);
    expect(findStragglers(spec.attempt_id)).toEqual([]);
    const result = await runtime.rescue(spec.attempt_id, spec.repository);
    expect(result?.files.map((file) => file.path)).toEqual(['half.txt', 'work.txt']);
    expect(readFileSync(runtime.patchFile(spec.attempt_id), 'utf8')).toContain('+half an hour of it');
    expect(await runtime.rescue(newAttemptId(), spec.repository)).toBeNull();
    await expect(runtime.rescue(spec.attempt_id, { ...spec.repository, source: '/nowhere' })).rejects.toThrow(/./);
  });

  it('rules that an attempt never began, and its recorder, late, agrees', async () => {
    const directory = tempDir();
    const spec = await specOf('echo');
    const { runtime, told } = runtimeOn(directory);
    const ref = { attemptId: spec.attempt_id, runId: 'r', variation: 0, attempt: 0, handle: null, lastSeq: 0 };
    expect(await runtime.adopt(ref, quietly)).toBe('not_started');
    mkdirSync(join(directory, spec.attempt_id));
    expect(await runtime.adopt(ref, quietly)).toBe('not_started');
    expect(told.ends).toMatchObject([
      { kind: 'not_started', reason: 'lost' },
      { kind: 'not_started', reason: 'lost' },
    ]);
    await runtime.start(spec);
    await until(() => told.ends.length > 2);
    expect(told.batches).toEqual([]);
    expect(told.ends[2]).toMatchObject({ kind: 'lost' });
  });

  it('removes what no run knows, running or read-only', async () => {
    const directory = tempDir();
    const { spec } = await leave(directory, 'linger');
    const locked = join(directory, spec.attempt_id, 'workspace', 'locked');
    mkdirSync(locked);
    writeFileSync(join(locked, 'x'), '');
    chmodSync(locked, 0);
    const { runtime } = runtimeOn(directory);
    await runtime.remove(spec.attempt_id, 'now');
    expect(readdirSync(directory)).toEqual([]);
    await until(() => findStragglers(spec.attempt_id).length === 0);
  });
});

/** Recorders of a process that wait for their attempt. */
function spareProcesses(parent: number): number[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      const waits = readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('recorder-main.ts\0--spare');
      const isOurs = readFileSync(`/proc/${name}/status`, 'utf8').includes(`\nPPid:\t${parent}\n`);
      return waits && isOurs && startTimeOf(Number(name)) !== null ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}
