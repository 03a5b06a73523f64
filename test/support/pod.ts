import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { NO_SANDBOX } from '../../src/contract/sandbox.ts';
import type { EarlierWork } from '../../src/contract/attempt.ts';
import type { ClaimedAttempt } from '../../src/contract/attempt-door.ts';
import { pod, type LastWord } from '../../src/contract/pod.ts';
import { defaultLimits } from '../../src/contract/run.ts';
import { noPrints } from '../../src/contract/secrets.ts';
import { createLineSplitter } from '../../src/agent/line-splitter.ts';
import { podPaths, ROOT_VARIABLE, type PodPaths } from '../../src/agent/pod/pod-paths.ts';
import { openPodDoor, type PodDoor, type PodDoorOptions } from './pod-door.ts';
import { ACP_AGENT, readJournal, type JournalRead, type PrepareOptions } from './recorded.ts';
import { makeRepository, plainGit } from './repository.ts';
import { tempDir } from './temp.ts';

const MAINS = join(import.meta.dirname, '..', '..', 'src', 'agent');

/** A process of the pod, and what becomes of it. */
export interface PodProcess {
  child: ChildProcess;
  /** Its exit code, or the signal it died of. */
  ended: Promise<number | string>;
  stderr(): string;
}

/** A pod without a cluster: both processes on one file system of their own, and a kubelet's part of what happens to them. */
export interface TestPod {
  door: PodDoor;
  attempt: ClaimedAttempt;
  paths: PodPaths;
  base: string;
  /** The pod's log as it was printed. */
  log(): Buffer;
  /** Decides of every printed line whether the server gets to see it. */
  follow(line: Buffer): boolean;
  recorder(env?: Record<string, string>): PodProcess;
  launcher(env?: Record<string, string>): PodProcess;
  /** Starts both; what the kubelet does when the agent's container has ended is done. */
  run(env?: Record<string, string>): { recorder: PodProcess; launcher: PodProcess };
  /** The journal, checked. */
  read(): JournalRead;
  lastWord(): LastWord;
  /** All numbered lines of the journal. */
  numbered(): Buffer;
  agentSaid(text: string): boolean;
}

export interface TestPodOptions extends PrepareOptions {
  script?: string;
  /** The launcher gets a PID namespace, with a shell in tini's place. */
  namespace?: boolean;
  follow?: (line: Buffer) => boolean;
  work?: EarlierWork;
}

export async function makePod(options: TestPodOptions = {}): Promise<TestPod> {
  const root = tempDir();
  const repository = makeRepository(join(root, 'repository'), options.files ?? { 'README.md': 'hello\n' });
  const mirror = join(root, 'mirror.git');
  plainGit(root, ['clone', '-q', '--bare', repository.path, mirror]);
  const fileSystem = join(root, 'pod');
  const paths = podPaths(fileSystem);
  for (const folder of [pod.workspace, pod.home, pod.tmp, pod.journal, pod.link, pod.secret, '/dev'])
    mkdirSync(join(fileSystem, folder), { recursive: true });
  const attempt: ClaimedAttempt = {
    v: 1,
    run_id: 'testrun123',
    variation_id: 0,
    attempt: 0,
    attempt_id: randomUUID(),
    prompt: options.prompt ?? 'do it',
    agent: {
      name: 'scripted',
      command: [...(options.command ?? ['{node}', ACP_AGENT, ...(options.agent ?? ['echo'])])],
      env: options.env ?? {},
      mode: options.mode ?? null,
      image: null,
      files: {},
      read_paths: [],
    },
    sandbox: NO_SANDBOX,
    egress: false,
    work: options.work ?? null,
    secrets: noPrints,
    model: 'test/model-1',
    dialect: 'anthropic',
    repository: { base: repository.head() },
    limits: { ...defaultLimits, ...options.limits },
  };
  const doorOptions: PodDoorOptions = { attempt, repository: mirror };
  if (options.script !== undefined) doorOptions.script = options.script;
  const door = await openPodDoor(doorOptions);
  writeFileSync(paths.token, `${door.token}\n`);
  const printed: Buffer[] = [];

  const start = (main: string, env: Record<string, string>, stdout: 'pipe' | 'ignore'): PodProcess => {
    const command = [process.execPath, join(MAINS, main)];
    if (options.namespace === true && main.includes('launcher'))
      command.unshift('unshare', '--pid', '--fork', '--kill-child', '--mount-proc', 'bash', '-c', '"$0" "$@"; exit $?');
    const [program = '', ...args] = command;
    const child = spawn(program, args, {
      env: { PATH: process.env['PATH'] ?? '', [ROOT_VARIABLE]: fileSystem, ...env },
      stdio: ['ignore', stdout, 'pipe'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const said: Buffer[] = [];
    child.stderr?.on('data', (chunk: Buffer) => said.push(chunk));
    const ended = new Promise<number | string>((resolve) =>
      child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')),
    );
    return { child, ended, stderr: () => Buffer.concat(said).toString() };
  };

  const testPod: TestPod = {
    door,
    attempt,
    paths,
    base: attempt.repository.base,
    log: () => Buffer.concat(printed),
    follow: options.follow ?? (() => true),
    recorder: (env = {}) => {
      const started = start(
        'pod-recorder-main.ts',
        {
          [pod.env.door]: door.url,
          [pod.env.attempt]: attempt.attempt_id,
          [pod.env.podUid]: 'pod-1',
          [pod.env.holdSeconds]: '30',
          ...env,
        },
        'pipe',
      );
      const lines = createLineSplitter({
        maxBytes: 1024 * 1024,
        keepBytes: 0,
        onLine: (line) => {
          const whole = Buffer.concat([line, Buffer.from('\n')]);
          if (testPod.follow(whole)) door.offer(whole);
        },
        onCut: () => undefined,
      });
      started.child.stdout?.on('data', (chunk: Buffer) => {
        printed.push(chunk);
        lines.push(chunk);
      });
      return started;
    },
    launcher: (env = {}) => start('pod-launcher-main.ts', env, 'ignore'),
    run: (env = {}) => {
      const recorder = testPod.recorder(env);
      const launcher = testPod.launcher();
      launcher.ended.then(
        () => recorder.child.kill('SIGTERM'),
        () => undefined,
      );
      return { recorder, launcher };
    },
    read: () => readJournal(join(paths.journal, '..'), attempt.attempt_id),
    lastWord: () => JSON.parse(readFileSync(paths.terminationLog, 'utf8')) as LastWord,
    numbered: () =>
      Buffer.from(
        readFileSync(paths.journal, 'latin1')
          .split(/(?<=\n)/)
          .filter((line) => !line.includes('"type":"hb"'))
          .join(''),
        'latin1',
      ),
    agentSaid: (text) => existsSync(paths.journal) && readFileSync(paths.journal, 'utf8').includes(text),
  };
  return testPod;
}
