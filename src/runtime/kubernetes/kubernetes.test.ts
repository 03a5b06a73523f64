import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { playCluster, state, statusOf } from '../../../test/support/played-cluster.ts';
import { journalOf } from '../../../test/support/played-recorder.ts';
import { NAME, POD, running, runtimeOn, specOf, started } from '../../../test/support/runtime-on-cluster.ts';
import { tempDir } from '../../../test/support/temp.ts';
import { until } from '../../../test/support/until.ts';
import { AppError } from '../../errors.ts';
import { ApiError } from './client/api-error.ts';

/** The runtime against a cluster whose moves are the test's: see played-cluster.ts. */

describe('a Job', () => {
  it('is made suspended, given its Secret, let go, and followed to its last word', async () => {
    const cluster = playCluster();
    const { runtime, told, pods } = runtimeOn(cluster, tempDir());
    const spec = specOf();
    await started(cluster, runtime, spec, told);
    expect(cluster.asked.slice(0, 3)).toEqual([
      `create job ${NAME}`,
      `create secret ${NAME}`,
      `patch job ${NAME} {"spec":{"suspend":false}}`,
    ]);
    expect(JSON.stringify(cluster.made)).not.toContain(spec.prompt);
    cluster.pod(NAME, running);
    await until(() => cluster.following(POD) === 1);
    for (const line of journalOf(spec.attempt_id, { messages: 5 })) cluster.print(POD, line);
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'eof', complete: true, eof: { reason: 'end_turn' } }]);
    expect(told.seqs).toEqual([1, 2, 3, 4, 5, 6]);
    await until(() => pods.get(spec.attempt_id) === undefined);
    await runtime.remove(spec.attempt_id, 'expire');
    expect(cluster.asked.at(-1)).toBe(`patch job ${NAME} {"spec":{"ttlSecondsAfterFinished":3600}}`);
    expect(await runtime.orphans(new Set())).toEqual([]);
  });

  it('tells its recorder that prompts wait, now or when it links', async () => {
    const cluster = playCluster();
    const directory = tempDir();
    const { runtime, told, pods } = runtimeOn(cluster, directory);
    const spec = specOf();
    await runtime.prompt(spec.attempt_id, { no: 1, text: 'nobody is there' });
    await started(cluster, runtime, spec, told);
    const heard: unknown[] = [];
    await runtime.prompt(spec.attempt_id, { no: 4, text: 'x' });
    const leave = pods.get(spec.attempt_id)?.link((message) => heard.push(message));
    await runtime.prompt(spec.attempt_id, { no: 6, text: 'y' });
    await runtime.prompt(spec.attempt_id, { no: 5, text: 'again' });
    expect(heard).toEqual([{ have: 0, prompt: 4 }, { prompt: 6 }]);
    leave?.();
  });

  it('is not made twice where the answer to its making was lost', async () => {
    const cluster = playCluster();
    const { runtime, told } = runtimeOn(cluster, tempDir());
    const spec = specOf();
    const { createJob } = cluster;
    cluster.createJob = async (job) => {
      await createJob(job);
      cluster.createJob = createJob;
      throw new AppError('cluster_unreachable', 'the connection was reset');
    };
    await started(cluster, runtime, spec, told);
    expect(told.waiting).toEqual(['the connection was reset']);
    expect(cluster.jobs()).toHaveLength(1);
  });

  it('that is refused ends the attempt with Kubernetes’ words, and that alone', async () => {
    const cluster = playCluster();
    const { runtime, told } = runtimeOn(cluster, tempDir());
    const message = 'jobs.batch "agent" is forbidden: exceeded quota: none';
    cluster.failing = new ApiError('POST', {
      httpStatus: 403,
      text: '',
      body: { kind: 'Status', reason: 'Forbidden', message },
      retryAfterSeconds: null,
    });
    await runtime.start(specOf());
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'not_started', reason: 'admission_refused' }]);
    expect(JSON.stringify(told.ends)).toContain('exceeded quota: none');
  });

  it('that is being made while the server ends does not hold it up', async () => {
    const cluster = playCluster();
    const { runtime, told } = runtimeOn(cluster, tempDir());
    const { createJob } = cluster;
    const gate = Promise.withResolvers<void>();
    cluster.createJob = async (job) => {
      await gate.promise;
      return createJob(job);
    };
    await runtime.start(specOf());
    const closed = runtime.close();
    gate.resolve();
    await closed;
    expect(told.ends).toEqual([]);
  });

  it('waits for an API that is away, and can be stopped meanwhile', async () => {
    const cluster = playCluster();
    const { runtime, told } = runtimeOn(cluster, tempDir());
    cluster.failing = new AppError('cluster_unreachable', 'connect ECONNREFUSED');
    const spec = specOf();
    await runtime.start(spec);
    await until(() => told.waiting.length > 0);
    expect(told.ends).toEqual([]);
    await runtime.stop(spec.attempt_id, 'cancelled');
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'not_started', reason: 'cancelled' }]);
    expect(cluster.jobs()).toEqual([]);
  });
});

describe('a pod that does not start', () => {
  it('is said to wait, and has failed after its time', async () => {
    const cluster = playCluster();
    const { runtime, told } = runtimeOn(cluster, tempDir(), { unschedulable: 1 });
    await started(cluster, runtime, specOf(), told);
    cluster.pod(NAME, {
      phase: 'Pending',
      conditions: [
        { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes are available' },
      ],
    });
    await until(() => told.ends.length > 0);
    expect(told.waiting).toEqual(['Unschedulable: 0/1 nodes are available']);
    expect(told.ends).toMatchObject([{ kind: 'not_started', reason: 'unschedulable' }]);
    expect(cluster.asked).toContain(`delete job ${NAME}`);
  });

  it('asks its recorder to end where that runs and only the agent’s image cannot be pulled', async () => {
    const cluster = playCluster();
    const { runtime, told, pods } = runtimeOn(cluster, tempDir(), { image_pull: 1 });
    const spec = specOf();
    await started(cluster, runtime, spec, told);
    const waiting = { waiting: { reason: 'ErrImagePull', message: 'no such image' } };
    const pod = cluster.pod(NAME, statusOf('Pending', state.running, waiting));
    const intake = pods.get(spec.attempt_id);
    expect(await intake?.claim(pod.metadata.uid)).toBe(true);
    const heard: unknown[] = [];
    intake?.link((message) => heard.push(message.stop));
    await until(() => heard.includes('image_pull_failed'));
    expect(told.ends).toEqual([]);
    await intake?.lines(Buffer.concat(journalOf(spec.attempt_id, { reason: 'image_pull_failed' }).map(withLf)));
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'eof', eof: { reason: 'image_pull_failed' } }]);
    expect(JSON.stringify(told.ends)).toContain('ErrImagePull: no such image');
    // Its pod would wait for the image for ever, and a Job that does not finish does not expire.
    await runtime.remove(spec.attempt_id, 'expire');
    expect(cluster.asked.at(-1)).toBe(`delete job ${NAME}`);
  });

  it('has its Job deleted at once where it is stopped before a recorder runs', async () => {
    const cluster = playCluster();
    const { runtime, told } = runtimeOn(cluster, tempDir());
    const spec = specOf();
    await started(cluster, runtime, spec, told);
    cluster.pod(NAME, { phase: 'Pending' });
    await runtime.stop(spec.attempt_id, 'superseded');
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'not_started', reason: 'superseded' }]);
    expect(cluster.asked).toContain(`delete job ${NAME}`);
  });
});

describe('a pod that ends without a last word', () => {
  async function speaking(lines: number) {
    const cluster = playCluster();
    const made = runtimeOn(cluster, tempDir());
    const spec = specOf();
    await started(cluster, made.runtime, spec, made.told);
    const pod = cluster.pod(NAME, running);
    await made.pods.get(spec.attempt_id)?.claim(pod.metadata.uid);
    await until(() => cluster.following(POD) === 1);
    const journal = journalOf(spec.attempt_id, { messages: 9 });
    for (const line of journal.slice(0, lines)) cluster.print(POD, line);
    await until(() => made.told.seqs.length === lines);
    return { cluster, ...made, spec, pod, journal };
  }

  it.each([
    ['evicted', { phase: 'Failed' as const, reason: 'Evicted', message: 'The node was low on resource: memory.' }],
    ['oom_killed', statusOf('Failed', state.ended(137), state.ended(137, 'OOMKilled'))],
  ])('is lost as %s, with all that it said', async (reason, status) => {
    const { cluster, told } = await speaking(4);
    cluster.pod(NAME, status);
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'lost', reason }]);
    expect(told.seqs).toEqual([1, 2, 3, 4]);
  });

  it('is lost as deleted where somebody deleted Job and pod', async () => {
    const { cluster, told, pod } = await speaking(4);
    cluster.removeJob(NAME);
    cluster.removePod(pod.metadata.uid);
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'lost', reason: 'job_deleted' }]);
  });

  it('keeps what came behind a gap, once nobody can fill it', async () => {
    const { cluster, told, journal } = await speaking(2);
    for (const line of journal.slice(4, 7)) cluster.print(POD, line);
    await pause(100);
    expect(told.seqs).toEqual([1, 2]);
    cluster.pod(NAME, { phase: 'Failed', reason: 'Evicted', message: 'x' });
    await until(() => told.ends.length > 0);
    expect(told.seqs).toEqual([1, 2, 5, 6, 7]);
  });

  it('whose node does not answer is given up when its grace is long over', async () => {
    const { cluster, told } = await speaking(3);
    // Whatever the API server's clock says.
    cluster.pod(NAME, running, { deletionTimestamp: '2020-01-01T00:00:00Z' });
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'lost', reason: 'node_lost' }]);
  });

  it('has its Job deleted where its recorder does not stop in time', async () => {
    const cluster = playCluster();
    const { runtime, told, pods } = runtimeOn(cluster, tempDir(), {}, 200);
    const spec = specOf();
    await started(cluster, runtime, spec, told);
    const pod = cluster.pod(NAME, running);
    await pods.get(spec.attempt_id)?.claim(pod.metadata.uid);
    await runtime.stop(spec.attempt_id, 'cancelled');
    expect(cluster.asked).not.toContain(`delete job ${NAME}`);
    await until(() => cluster.asked.includes(`delete job ${NAME}`));
    cluster.removePod(pod.metadata.uid);
    await until(() => told.ends.length > 0);
    expect(told.ends[0]?.kind === 'eof' ? null : told.ends[0]?.reason).toBe('cancelled');
  });

  it('is told why where its recorder could not know', async () => {
    const { cluster, told, spec, pods } = await speaking(1);
    const lines = journalOf(spec.attempt_id, { messages: 9, reason: 'terminated' });
    const status = {
      ...running,
      conditions: [
        { type: 'DisruptionTarget', status: 'True' as const, reason: 'PreemptionByScheduler', message: 'for another' },
      ],
    };
    cluster.pod(NAME, status, { deletionTimestamp: new Date(Date.now() + 60_000).toISOString() });
    await pods.get(spec.attempt_id)?.lines(Buffer.concat(lines.map(withLf)));
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'eof', eof: { reason: 'preempted' } }]);
  });

  it.each([
    ['gone', 'deadline_exceeded', 'Job was active longer than specified deadline'],
    ['going', 'deadline_exceeded', 'Job was active longer than specified deadline'],
    ['going', 'job_deleted', null],
  ])('is told what the Job says only after its pod is %s: %s', async (pace, reason, words) => {
    const { cluster, told, spec, pods, pod } = await speaking(1);
    cluster.pod(NAME, running, { deletionTimestamp: new Date(Date.now() + 60_000).toISOString() });
    const lines = journalOf(spec.attempt_id, { messages: 9, reason: 'terminated' });
    await pods.get(spec.attempt_id)?.lines(Buffer.concat(lines.map(withLf)));
    if (pace === 'gone') cluster.removePod(pod.metadata.uid);
    await pause(100);
    expect(told.ends).toEqual([]);
    const failed = { type: 'FailureTarget', status: 'True' as const, reason: 'DeadlineExceeded', message: words ?? '' };
    if (words !== null) cluster.changeJob(NAME, { status: { conditions: [failed] } });
    await until(() => told.ends.length > 0);
    expect(told.ends).toMatchObject([{ kind: 'eof', eof: { reason } }]);
  });
});

describe('a second pod of the same Job', () => {
  it('is not listened to', async () => {
    const cluster = playCluster();
    const { runtime, told, pods } = runtimeOn(cluster, tempDir());
    const spec = specOf();
    await started(cluster, runtime, spec, told);
    const first = cluster.pod(NAME, running);
    const intake = pods.get(spec.attempt_id);
    expect(await intake?.claim(first.metadata.uid)).toBe(true);
    const second = cluster.pod(NAME, running, { uid: 'another', name: `${NAME}-other` });
    expect(await intake?.claim(second.metadata.uid)).toBe(false);
    await pause(60);
    expect(cluster.following(`${NAME}-other`)).toBe(0);
    cluster.removePod('another');
    await pause(60);
    expect(told.ends).toEqual([]);
  });
});

function withLf(line: Buffer): Buffer {
  return Buffer.concat([line, Buffer.from('\n')]);
}
