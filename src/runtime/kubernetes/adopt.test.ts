import { describe, expect, it } from 'vitest';
import { playCluster } from '../../../test/support/played-cluster.ts';
import { journalOf } from '../../../test/support/played-recorder.ts';
import {
  NAME,
  place,
  POD,
  running,
  runtimeOn,
  specOf,
  started,
  type Told,
} from '../../../test/support/runtime-on-cluster.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';
import type { AttemptSpec } from '../../contract/attempt.ts';

/** What a server makes of the attempts that the one before it left. */

describe('a new server', () => {
  const ref = (spec: AttemptSpec, told: Told) => ({
    attemptId: spec.attempt_id,
    ...place,
    handle: told.handle,
    lastSeq: told.seqs.at(-1) ?? 0,
  });
  const quietly = () => Promise.resolve();

  /** An attempt whose Job was made, and whose server has gone. */
  async function leftBehind() {
    const cluster = playCluster();
    const directory = tempDir();
    const before = runtimeOn(cluster, directory);
    const spec = specOf();
    await started(cluster, before.runtime, spec, before.told);
    await before.runtime.close();
    return { cluster, directory, before, spec };
  }

  it('finds an attempt that runs and goes on where the last one stopped', async () => {
    const cluster = playCluster();
    const directory = tempDir();
    const before = runtimeOn(cluster, directory);
    const spec = specOf();
    await started(cluster, before.runtime, spec, before.told);
    const pod = cluster.pod(NAME, running);
    await before.pods.get(spec.attempt_id)?.claim(pod.metadata.uid);
    await until(() => cluster.following(POD) === 1);
    const journal = journalOf(spec.attempt_id, { messages: 8 });
    for (const line of journal.slice(0, 3)) cluster.print(POD, line);
    await until(() => before.told.seqs.length === 3);
    await before.runtime.close();
    const after = runtimeOn(cluster, directory);
    expect(await after.runtime.adopt(ref(spec, before.told), quietly)).toBe('running');
    await until(() => cluster.following(POD) === 1);
    // The log API repeats itself after a resume.
    for (const line of journal.slice(1)) cluster.print(POD, line);
    await until(() => after.told.ends.length > 0);
    expect(after.told.ends).toMatchObject([{ kind: 'eof', complete: true }]);
    expect(after.told.seqs).toEqual([4, 5, 6, 7, 8, 9]);
  });

  it('deletes a Job whose making was never written down, and rules that it never began', async () => {
    const { cluster, directory, spec } = await leftBehind();
    const after = runtimeOn(cluster, directory);
    const found: string[] = [];
    const became = await after.runtime.adopt(
      { attemptId: spec.attempt_id, ...place, handle: null, lastSeq: 0 },
      async (each) => void found.push(each),
    );
    expect([became, ...found]).toEqual(['not_started', 'not_started']);
    expect(after.told.ends).toMatchObject([{ kind: 'not_started', reason: 'lost' }]);
    expect(cluster.asked).toContain(`delete job ${NAME}`);
  });

  it('says of an attempt whose Job is gone that it is lost', async () => {
    const { cluster, directory, before, spec } = await leftBehind();
    cluster.removeJob(NAME);
    const after = runtimeOn(cluster, directory);
    expect(await after.runtime.adopt(ref(spec, before.told), quietly)).toBe('lost');
    await until(() => after.told.ends.length > 0);
    expect(after.told.ends).toMatchObject([{ kind: 'not_started', reason: 'job_deleted' }]);
  });

  it('knows a Job by its name where the API is away at its start, and deletes no other one', async () => {
    const { cluster, directory, spec } = await leftBehind();
    cluster.sync = () => Promise.resolve(false);
    const after = runtimeOn(cluster, directory);
    const unwritten = { attemptId: spec.attempt_id, ...place, handle: null, lastSeq: 0 };
    expect(await after.runtime.adopt(unwritten, quietly)).toBe('running');
    cluster.pod(NAME, { phase: 'Pending' });
    await after.runtime.stop(spec.attempt_id, 'cancelled');
    await until(() => after.told.ends.length > 0);
    expect(cluster.asked.filter((each) => each.startsWith('delete'))).toEqual([`delete job ${NAME}`]);
  });

  it('deletes a Job that should have finished, and does not, because its agent holds its launcher', async () => {
    const cluster = playCluster();
    const { runtime, told } = runtimeOn(cluster, tempDir());
    const spec = specOf();
    await started(cluster, runtime, spec, told);
    cluster.pod(NAME, running);
    await runtime.remove(spec.attempt_id, 'expire');
    expect(await runtime.orphans(new Set())).toEqual([]);
    expect(cluster.asked).not.toContain(`delete job ${NAME}`);
    // Its grace, and the time that was set above.
    await until(async () => (await runtime.orphans(new Set())).includes(spec.attempt_id));
    await runtime.remove(spec.attempt_id, 'expire');
    expect(cluster.asked.at(-1)).toBe(`delete job ${NAME}`);
  });

  it('finds Jobs of which no run knows, and leaves alone those that expire', async () => {
    const { cluster, directory, spec } = await leftBehind();
    const after = runtimeOn(cluster, directory);
    expect(await after.runtime.orphans(new Set([spec.attempt_id]))).toEqual([]);
    expect(await after.runtime.orphans(new Set())).toEqual([spec.attempt_id]);
    await after.runtime.remove(spec.attempt_id, 'now');
    expect(cluster.asked).toContain(`delete job ${NAME}`);
    expect(await after.runtime.orphans(new Set())).toEqual([]);
  });
});
