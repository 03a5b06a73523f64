import { expect } from 'vitest';
import { answeredWith, type ApiError } from '../../src/runtime/kubernetes/client/api-error.ts';
import type { KubernetesApi, LogRequest } from '../../src/runtime/kubernetes/client/api.ts';
import type { StreamEnd } from '../../src/runtime/kubernetes/client/transport.ts';

/**
 * What the log API really does, each with where it is written. The same checks are run against the played server (`kube-logs.ts`)
 * and, in test/kubernetes, against a real cluster: the one is only worth as much as it does what the other does.
 */
export interface KubeletFact {
  says: string;
  /** Of Kubernetes, 1.34. */
  source: string;
  check(world: KubeletWorld): Promise<void>;
}

export interface KubeletWorld {
  api: KubernetesApi;
  /** A pod whose container `main` does these things one after the other, and ends; resolves when it has begun to print. */
  run(steps: readonly Step[]): Promise<string>;
  /** Resolves when the container has terminated. */
  over(pod: string): Promise<void>;
  /** A pod whose container cannot start. */
  waiting(): Promise<string>;
  /** A pod that no node takes. */
  unscheduled(): Promise<string>;
  /** A pod that is over and still there, while its container is not. */
  collected(): Promise<string>;
}

export type Step = { print: string; withoutLf?: true } | { sleepMs: number };

/** The whole answer as text, and how it ended. */
async function read(
  { api }: KubeletWorld,
  pod: string,
  more: Partial<LogRequest> = {},
): Promise<{ text: string; end: StreamEnd }> {
  const chunks: Buffer[] = [];
  const end = await api.pods.log(
    { pod, container: 'main', ...more },
    { idleMs: 30_000, onData: (chunk) => chunks.push(Buffer.from(chunk)) },
  );
  return { text: Buffer.concat(chunks).toString('utf8'), end };
}

async function refusal(reading: Promise<unknown>): Promise<ApiError> {
  const error: unknown = await reading.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(answeredWith(error, 400) || answeredWith(error, 404)).toBe(true);
  return error as ApiError;
}

const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d) /;
const secondOf = (line: string): number => Math.floor(Date.parse(STAMP.exec(line)?.[0].trim() ?? '') / 1000);

export const kubeletFacts: readonly KubeletFact[] = [
  {
    says: 'a container that has not started: 400, “is waiting to start”',
    source: 'pkg/kubelet/kubelet_pods.go validateContainerLogStatus',
    check: async (world) => {
      const error = await refusal(read(world, await world.waiting()));
      expect(error.httpStatus).toBe(400);
      expect(error.message).toMatch(/is waiting to start/);
    },
  },
  {
    says: 'a pod without a node: 200 and an empty log',
    source: 'pkg/registry/core/pod/strategy.go LogLocation (“return an empty location”)',
    check: async (world) => {
      expect(await read(world, await world.unscheduled(), { follow: true })).toEqual({
        text: '',
        end: { kind: 'end' },
      });
    },
  },
  {
    says: 'no such pod: 404; no such container: 400',
    source: 'pkg/registry/core/pod/strategy.go LogLocation',
    check: async (world) => {
      expect((await refusal(read(world, 'nobody'))).httpStatus).toBe(404);
      const pod = await world.run([{ print: 'x' }]);
      const error = await refusal(read(world, pod, { container: 'nothing' }));
      expect(error.httpStatus).toBe(400);
      expect(error.message).toMatch(/container nothing is not valid for pod/);
    },
  },
  {
    says: 'timestamps: an RFC 3339 time and one space before each line, an empty one as well',
    source: 'staging/src/k8s.io/cri-client/pkg/logs/logs.go logWriter.write',
    check: async (world) => {
      const pod = await world.run([{ print: 'one' }, { print: '' }, { print: '  three' }]);
      await world.over(pod);
      const lines = (await read(world, pod, { timestamps: true })).text.split('\n');
      expect(lines.every((line, at) => (at === 3 ? line === '' : STAMP.test(line)))).toBe(true);
      expect(lines.map((line) => line.replace(STAMP, ''))).toEqual(['one', '', '  three', '']);
    },
  },
  {
    says: 'sinceTime: whole seconds, so lines of that second before it come again',
    source: 'pkg/registry/core/pod/strategy.go LogLocation (Format(time.RFC3339)); logs.go logOptions.since',
    check: async (world) => {
      const pod = await world.run([{ print: 'early' }, { sleepMs: 2200 }, { print: 'late' }]);
      await world.over(pod);
      const [early = '', late = ''] = (await read(world, pod, { timestamps: true })).text.split('\n');
      const end = new Date(secondOf(early) * 1000 + 999);
      expect((await read(world, pod, { sinceTime: end })).text).toBe('early\nlate\n');
      const next = new Date(secondOf(early) * 1000 + 1000);
      expect((await read(world, pod, { sinceTime: next })).text).toBe('late\n');
      expect((await read(world, pod, { sinceTime: new Date(secondOf(late) * 1000 + 1000) })).text).toBe('');
    },
  },
  {
    says: 'follow: what is printed comes as it is printed, and the end of the container is a clean end',
    source: 'logs.go ReadLogs (“container is not running”)',
    check: async (world) => {
      const pod = await world.run([{ print: 'one' }, { sleepMs: 500 }, { print: 'two' }, { sleepMs: 500 }]);
      expect(await read(world, pod, { follow: true })).toEqual({ text: 'one\ntwo\n', end: { kind: 'end' } });
    },
  },
  {
    says: 'follow of a container that is over: its log, and a clean end',
    source: 'logs.go ReadLogs',
    check: async (world) => {
      const pod = await world.run([{ print: 'one' }]);
      await world.over(pod);
      expect(await read(world, pod, { follow: true })).toEqual({ text: 'one\n', end: { kind: 'end' } });
    },
  },
  {
    says: 'a last line without LF comes without one',
    source: 'containerd internal/cri/io/logger.go redirectLogs (stored as partial); logs.go parseCRILog',
    check: async (world) => {
      const pod = await world.run([{ print: 'one' }, { print: 'two', withoutLf: true }]);
      await world.over(pod);
      expect((await read(world, pod)).text).toBe('one\ntwo');
    },
  },
  {
    says: 'a line of more than 16 KiB, which the runtime stores in pieces, comes as one, with one time',
    source: 'logs.go parseCRILog, logMessage (partial)',
    check: async (world) => {
      const long = 'x'.repeat(50_000);
      const pod = await world.run([{ print: long }, { print: 'next' }]);
      await world.over(pod);
      const lines = (await read(world, pod, { timestamps: true })).text.split('\n');
      expect(lines.map((line) => line.replace(STAMP, ''))).toEqual([long, 'next', '']);
    },
  },
  {
    says: 'tailLines: that many of the last',
    source: 'logs.go findTailLineStartIndex',
    check: async (world) => {
      const pod = await world.run([{ print: 'one' }, { print: 'two' }, { print: 'three' }]);
      await world.over(pod);
      expect((await read(world, pod, { tailLines: 2 })).text).toBe('two\nthree\n');
    },
  },
  {
    says: 'a container that is gone while its pod is there: 400 “is terminated”, or 200 and words of the kubelet without a time',
    // Which words depends on what went first, the container or only its log.
    source:
      'pkg/kubelet/kubelet_pods.go validateContainerLogStatus; kuberuntime_container.go GetContainerLogs (“unable to retrieve …”); logs.go ReadLogs (“failed to try resolving symlinks …”)',
    check: async (world) => {
      const pod = await world.collected();
      const answer = await read(world, pod, { timestamps: true }).catch((error: unknown) => error);
      if (answeredWith(answer, 400)) {
        expect(answer.message).toMatch(/is terminated/);
        return;
      }
      expect(answer).toEqual({
        text: expect.stringMatching(
          /^(unable to retrieve container logs for \w+:\/\/|failed to try resolving symlinks in path )/,
        ) as string,
        end: { kind: 'end' },
      });
    },
  },
];
