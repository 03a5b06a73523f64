import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { openDoor } from '../../src/attempt-api/door.ts';
import { defaultLimits } from '../../src/contract/run.ts';
import { loadConfig } from '../../src/config.ts';
import { claimAttempt, nextPromptOf, repositoryOf, workOf } from '../../src/flow/claim.ts';
import type { AttemptCaller } from '../../src/flow/context.ts';
import { createTokenBook, hashToken, newToken } from '../../src/flow/tokens.ts';
import type { Gateway } from '../../src/gateway/gateway.ts';
import type { Git } from '../../src/git/command.ts';
import type { Intake } from '../../src/runtime/pods.ts';
import { createPods } from '../../src/runtime/kubernetes/pods.ts';
import { git } from './attempt.ts';
import { mirrorScene, type MirrorScene } from './mirrors.ts';
import { runRow, testStore } from './store.ts';
import { noSecrets } from './secrets.ts';
import { tempDir } from './temp.ts';

type Holder = AttemptCaller & { stopped: AbortController };

export interface PodAttempt {
  attemptId: string;
  token: string;
  intake: Intake;
  stopped: AbortController;
  base: string;
  /** With the token. */
  ask(path: string, init?: Omit<RequestInit, 'headers'> & { headers?: Record<string, string> }): Promise<Response>;
  revoke(): void;
  /** The run's row, and the number that the attempt's row is to have. */
  runNo: number;
  attemptNo: number;
}

/** A model that only says who asked. */
const gateway: Gateway = {
  check: () => ['anthropic'],
  hasPrice: () => true,
  close: () => Promise.resolve(),
  handle: (_request, response, caller) => {
    response.end(caller.attemptId);
    return Promise.resolve();
  },
};

/** The attempt door of a cluster with its rooms behind it: a store, mirrors, intakes. All but the cluster. */
export async function openAttemptDoor(options: { scene?: MirrorScene; git?: Git; maxFetches?: number } = {}) {
  const scene = options.scene ?? mirrorScene();
  const store = testStore();
  const pods = createPods({ directory: tempDir(), maxPatchBytes: 1_000_000 });
  const dataDir = tempDir();
  const tokens = createTokenBook<Holder>();
  const { config } = loadConfig({ env: { HOME: tempDir(), AIDEATOR_RUNTIME: 'kubernetes' } });
  const context = { store, config, mirrors: scene.mirrors, agents: new Map<string, never>(), secrets: noSecrets() };
  const errors: unknown[] = [];
  const door = await openDoor<Holder>({
    listen: { host: '127.0.0.1', port: 0 },
    tokens,
    gateway,
    book: () => ({ reserve: () => Promise.resolve(), note: () => undefined, settle: () => undefined }),
    house: {
      pods,
      git: options.git ?? git,
      claim: (holder, podUid) => claimAttempt(context, pods, holder, podUid),
      repository: (holder) => repositoryOf(context, holder),
      work: (holder, sha256) => workOf({ store, config: { data_dir: dataDir } }, holder, sha256),
      nextPrompt: (holder, after) => nextPromptOf(context, holder, after),
      ...(options.maxFetches === undefined ? {} : { maxFetches: options.maxFetches }),
    },
    log: { error: (facts) => void errors.push(facts) },
  });
  onTestFinished(async () => {
    await door.close();
    await pods.release();
  });
  const url = `http://127.0.0.1:${door.port}`;

  let made = 0;
  async function attempt(ref?: string): Promise<PodAttempt> {
    const { base, mirror } = await scene.mirrors.resolve(scene.repository.path, ref);
    const attemptId = randomUUID();
    const runId = attemptId.slice(0, 8);
    const runNo = await store.write({
      within: (tx) => {
        const { db } = store;
        const run = { ...runRow(runId), base, mirror, prompt: 'Fix „it“.' };
        const no = tx.run(db.insertInto('runs').values(run)).lastInsertRowid;
        tx.run(
          db.insertInto('variations').values({
            run: no,
            idx: 0,
            agent: 'mine',
            model: 'p/m',
            strategy: null,
            instruction: 'Be brief.',
            dialect: 'openai',
            limits: JSON.stringify(defaultLimits),
            status: 'starting',
            end_reason: null,
            message: null,
            queued_at: run.created_at,
            started_at: null,
            ended_at: null,
            stop_reason: null,
            retries_left: 0,
            result_attempt: null,
          }),
        );
        return no;
      },
    });
    const attemptNo = (made += 1);
    const token = newToken();
    const stopped = new AbortController();
    tokens.admit(hashToken(token), {
      attemptId,
      model: 'p/m',
      runNo,
      runId,
      variation: 0,
      attempt: 0,
      attemptNo,
      stopped,
    });
    return {
      attemptId,
      token,
      stopped,
      base,
      intake: await pods.open(attemptId, null),
      ask: (path, init = {}) =>
        fetch(`${url}${path}`, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
      revoke: () => tokens.revoke(hashToken(token)),
      runNo,
      attemptNo,
    };
  }

  return { url, port: door.port ?? 0, door, pods, scene, errors, attempt, store, dataDir };
}
