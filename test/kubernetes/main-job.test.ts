import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Comparison, Run, Shipped, Submitted } from '../../src/contract/api.ts';
import { createDecoder } from '../../src/contract/envelope-codec.ts';
import { agentLabels, labels } from '../../src/contract/pod.ts';
import { ask, eventsOf, followedLog, isFinished, objectsOf, startClusterHouse } from '../support/cluster-house.ts';
import { makeNamespace, realCluster, type Kubernetes } from '../support/real-cluster.ts';
import { gitAs, sourceRepository } from '../support/sources.ts';
import { framesIn } from '../support/sse-client.ts';
import { tempDir } from '../support/temp.ts';
import { until } from '../support/until.ts';

/** The main job on a real cluster: five variations as Jobs, their logs beside their events, one of them shipped. */

const cluster = realCluster();
const namespace = `kubetests-main-${process.pid}`;

/** Must be read nowhere but in the events and the agent's own container. */
const CANARY = 'canary-bird-4711';
const script = `
models:
  worker:
    price: { input: 3000000, output: 15000000 }
    conversations:
      - when: make it A
        turns:
          - { thinking: "A it is, and it is thought over for as long as it takes somebody to look. ", delta_chars: 2, delay_ms: 120,
              tools: [{ name: bash, input: { command: "printf 'A\\\\n' > value.txt; printf '\\\\001\\\\000' > b.bin; seq 1 4000" } }] }
          - { text: Done. }
      - when: make it B
        turns:
          - { text: B then., tools: [{ name: bash, input: { command: "printf 'B\\\\n' > value.txt && mkdir -p test && echo t > test/value.test.js" } }] }
          - { text: Done. }
      - when: refuse the key
        turns:
          - error: { status: 401, message: invalid x-api-key }
      - when: change nothing
        turns:
          - { text: Nothing to do. }
  free:
    turns:
      - { tools: [{ name: write, input: { path: value.txt, content: "A\\n" } }] }
      - { text: Done. }
`;
const strategies = {
  a: { instruction: 'make it A' },
  b: { instruction: 'make it B' },
  key: { instruction: 'refuse the key' },
  nothing: { instruction: 'change nothing' },
};

describe.runIf(cluster !== null)('the main job on a cluster', () => {
  const remove = cluster === null ? () => undefined : makeNamespace(cluster, namespace);
  afterAll(remove);

  it('runs five variations as Jobs, shows their logs as they are stored, compares, chooses and ships', async () => {
    if (cluster === null) return;
    const settings = { strategies, default_model: 'scripted/worker' };
    const house = await startClusterHouse(cluster, namespace, { script, settings });
    const repository = sourceRepository({ 'value.txt': 'none\n', 'other.txt': 'x\n' });
    const { body: submitted, status } = await house.api<Submitted>('POST', '/api/v1/runs', {
      repository,
      prompt: `Set the value, ${CANARY}.`,
      variations: [
        { strategy: 'a' },
        { strategy: 'b', dialect: 'openai' },
        { strategy: 'key' },
        { model: 'scripted/free', dialect: 'openai' },
        { strategy: 'nothing' },
      ],
    });
    const { run_id: runId } = submitted;
    expect(status).toBe(202);
    expect(submitted.jobs).toEqual([0, 1, 2, 3, 4].map((each) => `agent-${runId}-${each}`));

    // As soon as there is something to see, somebody looks at it with kubectl alone.
    await until(async () => (await recorderOf(runId, 0))?.state.running !== undefined, 90_000);
    const log = followedLog(cluster, namespace, `agent-${runId}-0`);
    const sse = fetch(`${house.url}/api/v1/runs/${runId}/stream`).then((response) => response.text());
    const made = [
      ...(await objectsOf(cluster, namespace, 'jobs,pods', runId)),
      ...(await objectsOf(cluster, namespace, 'secrets', runId)),
    ];

    const run = await house.over(runId, 120_000);
    expect(run.variations.map((each) => [each.status, each.end_reason])).toEqual([
      ['succeeded', 'end_turn'],
      ['succeeded', 'end_turn'],
      ['failed', 'provider_auth'],
      ['succeeded', 'end_turn'],
      ['failed', 'no_changes'],
    ]);
    expect([run.status, run.summary]).toEqual(['completed', '3 of 5 variations succeeded']);
    const attempts = run.variations.flatMap((each) => each.attempts);
    expect(attempts.map(({ log_complete, gaps, job }) => [log_complete, gaps, job])).toEqual(
      (submitted.jobs ?? []).map((job) => [true, [], job]),
    );

    expectLabels(made, run);
    expectNoSecrets(made, house.home, repository);
    await expectSame(await log, run, 0);
    await expectDense(run);
    const streamed = await sse;
    await expectStream(streamed, runId);
    // No agent could lay hands on its launcher: the node's kernel and the seccomp profile of the runtime let Landlock be used.
    expect(streamed).not.toContain('agent_not_apart');

    const { body: comparison } = await house.api<Comparison>('GET', `/api/v1/runs/${runId}/compare`);
    expect(comparison.variations.map((each) => each.same_as)).toEqual([[], [], [], [], []]);
    expect(comparison.files.all).toEqual(['value.txt']);
    const chosen = await house.api('POST', `/api/v1/runs/${runId}/select`, { winning_variation_id: 0 });
    expect(chosen.status).toBe(200);
    const patch = await fetch(`${house.url}/api/v1/runs/${runId}/variations/0/patch`);
    const bytes = Buffer.from(await patch.arrayBuffer());
    const clone = tempDir();
    gitAs(clone, 'clone', '-q', repository, 'base');
    writeFileSync(join(clone, 'patch'), bytes);
    gitAs(join(clone, 'base'), 'apply', '--check', '../patch');
    gitAs(join(clone, 'base'), 'apply', '--index', '../patch');
    const tree = gitAs(join(clone, 'base'), 'write-tree');
    const { body: shipped } = await house.api<Shipped>('POST', `/api/v1/runs/${runId}/ship`, { kind: 'branch' });
    expect(gitAs(repository, 'rev-parse', `${shipped.branch}^{tree}`)).toBe(tree);
    expect(gitAs(repository, 'rev-parse', `${shipped.branch}^`)).toBe(run.base);
    expect(gitAs(repository, 'show', `${shipped.branch}:value.txt`)).toBe('A');

    // What has succeeded can be cleared away the way Kubernetes has for it; nothing that was stored goes with it.
    await until(async () => (await objectsOf(cluster, namespace, 'jobs', runId)).every(isFinished));
    await ask(cluster, 'delete', 'jobs', '-n', namespace, '--field-selector', 'status.successful=1');
    const left = await objectsOf(cluster, namespace, 'jobs', runId);
    expect(left.map((job) => job.metadata.labels[labels.variation])).toEqual(['2', '4']);
    await until(async () => (await objectsOf(cluster, namespace, 'secrets,pods', runId)).length === 4);
    const again = await fetch(`${house.url}/api/v1/runs/${runId}/variations/0/patch`);
    expect(Buffer.from(await again.arrayBuffer()).equals(bytes)).toBe(true);

    async function recorderOf(id: string, variation: number): Promise<Kubernetes> {
      const pods = await objectsOf(cluster!, namespace, 'pods', id);
      const pod = pods.find(({ metadata }) => metadata.labels[labels.variation] === String(variation));
      return pod?.status.initContainerStatuses?.[0];
    }

    /** The log is the envelopes, each stored as one event with the same number and the same words. */
    async function expectSame(text: string, { variations }: Run, variation: number): Promise<void> {
      const attempt = variations[variation]?.attempts[0];
      const decoder = createDecoder(attempt?.attempt_id ?? '');
      const { envelopes, gaps, problems } = decoder.push(Buffer.from(text));
      expect([gaps, problems]).toEqual([[], []]);
      expect(envelopes.at(-1)).toMatchObject({ type: 'eof', seq: attempt?.last_seq });
      const stored = (await eventsOf(house, runId, variation)).filter(({ data }) => data['seq'] != null);
      const said = envelopes.slice(0, -1);
      expect(stored.map(({ data }) => [data['seq'], data['message']])).toEqual([
        ...said.map(({ seq, data }) => [seq, JSON.parse(data)]),
        [attempt?.last_seq, undefined],
      ]);
      const thoughts = said.filter(({ data }) => data.includes('agent_thought_chunk'));
      expect(thoughts.length).toBeGreaterThan(30);
      // One is too long for a line of a log, and came in parts.
      expect(said.some(({ span }) => span > 1)).toBe(true);
    }

    async function expectDense({ variations }: Run): Promise<void> {
      for (const {
        variation_id: variation,
        attempts: [attempt],
      } of variations) {
        let next = 1;
        for (const { data } of await eventsOf(house, runId, variation)) {
          const seq = data['seq'];
          if (typeof seq !== 'number') continue;
          // An event of several lines has the number of its last.
          expect(seq).toBeGreaterThanOrEqual(next);
          next = seq + 1;
        }
        expect(next).toBe((attempt?.last_seq ?? 0) + 1);
      }
    }

    async function expectStream(text: string, id: string): Promise<void> {
      const frames = framesIn(Buffer.from(text)).map((frame) => {
        const [, no, type, data] = /^id: (\d+)\nevent: (\S+)\ndata: (.*)\n\n$/.exec(frame) ?? [];
        return { id: Number(no), type, data: JSON.parse(data ?? 'null') };
      });
      expect(frames).toEqual(await eventsOf(house, id));
    }
  });
});

function expectLabels(made: readonly Kubernetes[], run: Run): void {
  for (const {
    variation_id: variation,
    attempts: [attempt],
  } of run.variations) {
    const mine = made.filter(({ metadata }) => metadata.labels[labels.attemptId] === attempt?.attempt_id);
    expect(new Set(mine.map(({ kind }) => kind))).toEqual(new Set(['Job', 'Pod', 'Secret']));
    expect(mine).toHaveLength(3);
    for (const { metadata } of mine)
      expect(metadata.labels).toMatchObject({
        ...agentLabels,
        [labels.run]: run.run_id,
        [labels.variation]: String(variation),
        [labels.attempt]: '0',
      });
    expect(mine.find(({ kind }) => kind === 'Secret')?.metadata.ownerReferences).toMatchObject([
      { kind: 'Job', name: `agent-${run.run_id}-${variation}` },
    ]);
  }
}

function expectNoSecrets(made: readonly Kubernetes[], home: string, repository: string): void {
  const specs = JSON.stringify(made.filter(({ kind }) => kind !== 'Secret'));
  const tokens = made
    .filter(({ kind }) => kind === 'Secret')
    .map((secret) => Buffer.from(secret.data.token, 'base64').toString());
  expect(new Set(tokens).size).toBe(5);
  for (const word of [CANARY, 'make it A', home, repository, ...tokens]) expect(specs).not.toContain(word);
}
