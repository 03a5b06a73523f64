import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { localPlace } from '../../src/agent/place.ts';
import { findBubblewrap } from '../../src/agent/sandbox/probe.ts';
import { runRecorder, type RecorderOptions } from '../../src/agent/recorder.ts';
import { NO_SANDBOX, sandboxSpec, type SandboxSpec } from '../../src/contract/sandbox.ts';
import type { AttemptResult, AttemptSpec, Eof } from '../../src/contract/attempt.ts';
import { createDecoder } from '../../src/contract/envelope-codec.ts';
import type { Envelope } from '../../src/contract/envelope.ts';
import { defaultLimits, type Limits } from '../../src/contract/run.ts';
import { noPrints } from '../../src/contract/secrets.ts';
import { makeRepository, plainGit } from './repository.ts';
import { tempDir } from './temp.ts';

/** What a journal holds, read as the server reads it. */
export interface JournalRead {
  events: Envelope[];
  /** Payloads of one type. */
  of<T = Record<string, unknown>>(type: Envelope['type']): T[];
  /** Codes of the recorder's notes, in order. */
  notes: string[];
  result: AttemptResult | null;
  eof: Eof;
  /** Texts of the agent's message and thought chunks. */
  said: string[];
}

/** Reads a whole journal; fails where a line is unreadable, a number missing, the last word not last or its hash wrong. */
export function readJournal(directory: string, attemptId: string): JournalRead {
  const decoder = createDecoder(attemptId);
  const { envelopes: events, gaps, problems } = decoder.push(readFileSync(join(directory, 'journal.ndjson')));
  if (gaps.length + problems.length > 0) throw new Error(`damaged: ${JSON.stringify({ gaps, problems })}`);
  const of = <T>(type: Envelope['type']): T[] =>
    events.filter((event) => event.type === type).map(({ data }) => JSON.parse(data) as T);
  const [eof] = of<Eof>('eof');
  if (eof === undefined) throw new Error('no last word');
  if (!decoder.matches(eof)) throw new Error('the hash is wrong');
  const said = of<{ params?: { update?: { content?: { text?: string } } } }>('acp').flatMap(
    ({ params }) => params?.update?.content?.text ?? [],
  );
  return {
    events,
    of,
    notes: of<{ code: string }>('note').map(({ code }) => code),
    result: of<AttemptResult>('result')[0] ?? null,
    eof,
    said,
  };
}

export interface PreparedAttempt {
  directory: string;
  spec: AttemptSpec;
  base: string;
  run(more?: Partial<RecorderOptions>): Promise<JournalRead>;
  read(): JournalRead;
}

export interface PrepareOptions {
  /** Arguments of the scripted ACP agent, or a whole command. */
  agent?: readonly string[];
  command?: readonly string[];
  env?: Record<string, string>;
  mode?: string;
  prompt?: string;
  limits?: Partial<Limits>;
  spec?: Partial<AttemptSpec>;
  files?: Record<string, string>;
  /** In a sandbox, with these settings laid over. */
  sandbox?: Partial<SandboxSpec>;
}

export const ACP_AGENT = join(import.meta.dirname, 'acp-agent.ts');

/** A repository, a bare clone as its mirror, and an attempt's directory with its spec. */
export function prepareAttempt(options: PrepareOptions = {}): PreparedAttempt {
  const root = tempDir();
  const repository = makeRepository(join(root, 'repository'), options.files ?? { 'README.md': 'hello\n' });
  const source = join(root, 'mirror.git');
  plainGit(root, ['clone', '-q', '--bare', repository.path, source]);
  const directory = join(root, 'attempt');
  mkdirSync(directory);
  const spec: AttemptSpec = {
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
      read_paths: [import.meta.dirname],
    },
    sandbox: options.sandbox === undefined ? NO_SANDBOX : sandboxFor(root, options.sandbox),
    egress: false,
    work: null,
    secrets: noPrints,
    model: 'test/model-1',
    dialect: 'anthropic',
    door: { socket: join(root, 'door.sock'), token: 'token-of-the-attempt' },
    repository: { source, base: repository.head() },
    limits: { ...defaultLimits, ...options.limits },
    ...options.spec,
  };
  writeFileSync(join(directory, 'spec.json'), JSON.stringify(spec), { mode: 0o600 });
  writeFileSync(join(directory, 'journal.ndjson'), '', { mode: 0o600 });
  const read = (): JournalRead => readJournal(directory, spec.attempt_id);
  return {
    directory,
    spec,
    base: spec.repository.base,
    read,
    run: async (more = {}) => {
      const env = more.env ?? process.env;
      const place = localPlace({ spec, directory, env, node: process.execPath });
      await runRecorder({ spec, place, env, version: '0.0.0', ...more });
      return read();
    },
  };
}

/** A sandbox as the server would ask for it, its data directory being `root`. */
function sandboxFor(root: string, more: Partial<SandboxSpec>): SandboxSpec {
  return sandboxSpec.parse({
    kind: 'bubblewrap',
    program: findBubblewrap(process.env['PATH']),
    hidden: [root],
    ...more,
  });
}
